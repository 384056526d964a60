from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.agents.records import Event
from sightline.agents.state.config import StateModelConfig
from sightline.agents.state.model import EventBatch, RecurrentStateModel
from sightline.retrieval.jsonl import RecordError

DIMENSION = 16


class NoiseEncoder:
    """A fixed random vector for every text; counts what it is asked for."""

    name, dimension = "noise", DIMENSION

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=DIMENSION) for seed in seeds]).astype(np.float32)


def episode(*texts: str) -> list[Event]:
    return [Event("OBS" if i % 2 == 0 else "ACT", text) for i, text in enumerate(texts)]


EPISODES = [
    episode("home"),
    episode("home", "search", "results", "click", "item"),
    episode("home", "search", "nothing"),
    episode(*(f"event {i}" for i in range(31))),
]


TYPES = ("search", "open", "buy")


@pytest.fixture
def model() -> RecurrentStateModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RecurrentStateModel(
            StateModelConfig(
                text_dimension=DIMENSION,
                event_dimension=24,
                state_dimension=32,
                max_characters=20,
                action_types=TYPES,
            )
        )


def run(model: RecurrentStateModel, batch: EventBatch) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        outputs = model(batch.text_embeddings, batch.kinds, batch.lengths)
    return outputs.states, outputs.action_logits, outputs.last_observation_logits


def test_a_batch_holds_each_events_embedding_and_kind_and_zeros_beyond(model: RecurrentStateModel) -> None:
    encoder = NoiseEncoder()
    batch = model.encode_events(encoder, EPISODES)
    assert batch.lengths.tolist() == [1, 5, 3, 31]
    assert batch.kinds[1].tolist() == [0, 1, 0, 1, 0] + [0] * 26
    expected = torch.from_numpy(encoder.encode(["home", "search", "results", "click", "item"]))
    assert torch.equal(batch.text_embeddings[1, :5], expected)
    assert not batch.text_embeddings[1, 5:].any()


def test_every_distinct_clipped_text_is_encoded_once(model: RecurrentStateModel) -> None:
    encoder = NoiseEncoder()
    same_beginning = episode("x" * 20 + "one", "search", "x" * 20 + "two")
    batch = model.encode_events(encoder, [*EPISODES[:3], same_beginning])
    assert len(encoder.asked) == len(set(encoder.asked)) == 7
    assert max(map(len, encoder.asked)) == 20
    assert torch.equal(batch.text_embeddings[3, 0], batch.text_embeddings[3, 2])


@pytest.mark.parametrize("sequences", [[], [episode("home"), []]])
def test_empty_sequences_are_refused(model: RecurrentStateModel, sequences: list[list[Event]]) -> None:
    with pytest.raises(ValueError, match="no empty one"):
        model.encode_events(NoiseEncoder(), sequences)


def test_an_encoder_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="vectors of length 16, but the state model was made for 384"):
        RecurrentStateModel(StateModelConfig(action_types=TYPES)).encode_events(NoiseEncoder(), EPISODES)


def test_another_encoder_than_the_one_it_was_trained_with_is_refused() -> None:
    model = RecurrentStateModel(StateModelConfig(text_dimension=DIMENSION, text_encoder="MiniLM", action_types=TYPES))
    with pytest.raises(ValueError, match=r"trained with the text encoder 'MiniLM' and cannot read .* of 'noise'"):
        model.encode_events(NoiseEncoder(), EPISODES)


def test_a_sequences_outputs_do_not_depend_on_its_batch_mates(model: RecurrentStateModel) -> None:
    encoder = NoiseEncoder()
    together = run(model, model.encode_events(encoder, EPISODES))
    for i, events in enumerate(EPISODES):
        alone = run(model, model.encode_events(encoder, [events]))
        for shared, single in zip(together, alone, strict=True):
            torch.testing.assert_close(shared[i, : len(events)], single[0], atol=1e-6, rtol=0)
            assert not shared[i, len(events) :].any()


def test_selected_rows_give_the_same_outputs_with_less_padding(model: RecurrentStateModel) -> None:
    batch = model.encode_events(NoiseEncoder(), EPISODES)
    rows = torch.tensor([2, 1])
    selected = batch.select(rows)
    assert selected.kinds.shape == (2, 5)
    for whole, part in zip(run(model, batch), run(model, selected), strict=True):
        torch.testing.assert_close(whole[rows, :5], part, atol=1e-6, rtol=0)


def test_outputs_after_an_event_do_not_see_later_ones(model: RecurrentStateModel) -> None:
    encoder = NoiseEncoder()
    before = run(model, model.encode_events(encoder, [episode("home", "search", "results")]))
    after = run(model, model.encode_events(encoder, [episode("home", "search", "results", "click", "item")]))
    for early, late in zip(before, after, strict=True):
        torch.testing.assert_close(early[0], late[0, :3], atol=1e-6, rtol=0)


def test_final_states_are_those_at_each_sequences_last_event(model: RecurrentStateModel) -> None:
    batch = model.encode_events(NoiseEncoder(), EPISODES)
    states, _, _ = run(model, batch)
    expected = torch.stack([states[i, len(events) - 1] for i, events in enumerate(EPISODES)])
    torch.testing.assert_close(model.final_states(batch), expected, atol=1e-6, rtol=0)


def test_the_state_is_a_gru_over_normed_event_vectors(model: RecurrentStateModel) -> None:
    batch = model.encode_events(NoiseEncoder(), [EPISODES[1]])
    cell = torch.nn.GRUCell(24, 32)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in model.gru.state_dict().items()})
    state = torch.zeros(1, 32)
    for t in range(5):
        projected = model.event_encoder.text_projection(batch.text_embeddings[:, t])
        kind = model.event_encoder.kind_embedding(batch.kinds[:, t])
        state = cell(model.event_encoder.norm(projected + kind), state)
    torch.testing.assert_close(model.final_states(batch), state, atol=1e-6, rtol=0)


def test_the_kind_of_an_event_changes_the_state(model: RecurrentStateModel) -> None:
    seen = model.encode_events(NoiseEncoder(), [[Event("OBS", "lamp")]])
    done = model.encode_events(NoiseEncoder(), [[Event("ACT", "lamp")]])
    assert (model.final_states(seen) - model.final_states(done)).abs().max() > 1e-3


def test_the_baseline_sees_the_latest_observation_and_nothing_else(model: RecurrentStateModel) -> None:
    encoder = NoiseEncoder()
    _, _, long = run(model, model.encode_events(encoder, [episode("home", "search", "results", "click")]))
    _, _, other = run(model, model.encode_events(encoder, [episode("else", "what", "results", "buy")]))
    _, _, single = run(model, model.encode_events(encoder, [episode("results")]))
    torch.testing.assert_close(long[0, 2:], other[0, 2:], atol=1e-6, rtol=0)
    torch.testing.assert_close(long[0, 2], single[0, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(long[0, 3], single[0, 0], atol=1e-6, rtol=0)


def test_the_baselines_loss_moves_only_its_own_head(model: RecurrentStateModel) -> None:
    batch = model.encode_events(NoiseEncoder(), EPISODES)
    model(batch.text_embeddings, batch.kinds, batch.lengths).last_observation_logits.square().sum().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if name.startswith("last_observation_head.")}


def test_a_saved_model_is_loaded_unchanged(model: RecurrentStateModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    loaded = RecurrentStateModel.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    batch = model.encode_events(NoiseEncoder(), EPISODES)
    for saved, restored in zip(run(model, batch), run(loaded, batch), strict=True):
        assert torch.equal(saved, restored)
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_an_interrupted_save_keeps_the_old_model(
    model: RecurrentStateModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    torch.nn.init.zeros_(model.action_head.weight)

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        RecurrentStateModel.from_pretrained(tmp_path)


def test_weights_cut_short_are_an_error(model: RecurrentStateModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RecordError, match=r"model\.safetensors does not hold the weights"):
        RecurrentStateModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dimension": 8}, "does not hold the weights"),
        ({"action_types": ["search", "fly"]}, "does not hold the weights"),
        ({"action_types": []}, "needs action_types"),
        ({"action_types": ["search", 1]}, r"config\.json, field 'action_types\.1'"),
        ({"colour": "red"}, r"config\.json, field 'colour'"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error(
    model: RecurrentStateModel, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(RecordError, match=message):
        RecurrentStateModel.from_pretrained(tmp_path)
