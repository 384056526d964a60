from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sightline.retrieval import HashingEncoder, StateConditionedRetriever

SHAPES = [{"hidden_dim": None, "importance": False}, {"hidden_dim": 7, "importance": True}]


def page(seed: int = 0, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, generator=generator), torch.randn(count, 4, generator=generator)


def weights(retriever: StateConditionedRetriever) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in retriever.state_dict().values())


@pytest.mark.parametrize("shape", SHAPES)
def test_queries_have_unit_length(shape: dict):
    condition, _ = page()
    query = StateConditionedRetriever(5, 4, **shape).query(condition[None])
    assert query.shape == (1, 4)
    assert query.norm().item() == pytest.approx(1)


def test_scores_are_cosines_plus_importance():
    retriever = StateConditionedRetriever(5, 4, importance=True)
    assert retriever.importance_head is not None
    torch.nn.init.normal_(retriever.importance_head.weight, generator=torch.Generator().manual_seed(1))
    condition, chunks = page()
    scores = retriever.scores(condition[None], chunks[None], torch.ones(1, 6, dtype=torch.bool))[0]
    layer, head = retriever.query_proj, retriever.importance_head
    assert isinstance(layer, torch.nn.Linear)
    query = (layer.weight @ condition + layer.bias).detach().numpy()
    for score, chunk in zip(scores.tolist(), chunks.numpy(), strict=True):
        unit = chunk / np.linalg.norm(chunk)
        importance = float(head.weight.detach().numpy()[0] @ unit + head.bias.item())
        assert score == pytest.approx(float(unit @ query) / np.linalg.norm(query) + importance, abs=1e-5)


def test_shared_chunks_score_as_they_do_on_a_page_of_their_own():
    retriever = StateConditionedRetriever(5, 4)
    assert retriever.importance_head is not None
    torch.nn.init.normal_(retriever.importance_head.weight, generator=torch.Generator().manual_seed(1))
    (first, chunks), (second, _) = page(0), page(1)
    conditions, mask = torch.stack([first, second]), torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(
        retriever.shared_scores(conditions, chunks), retriever.scores(conditions, torch.stack([chunks] * 2), mask)
    )


def test_an_untrained_importance_head_changes_nothing():
    condition, chunks = page()
    mask = torch.ones(1, 6, dtype=torch.bool)
    scores = [
        StateConditionedRetriever(5, 4, importance=importance).scores(condition[None], chunks[None], mask)
        for importance in (True, False)
    ]
    torch.testing.assert_close(*scores)


def test_masked_chunks_score_minus_infinity_and_do_not_change_the_others():
    retriever = StateConditionedRetriever(5, 4)
    (first, chunks), (second, others) = page(0), page(1, count=3)
    padded = torch.stack([chunks, torch.cat([others, torch.zeros(3, 4)])])
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    scores = retriever.scores(torch.stack([first, second]), padded, mask)
    alone = retriever.scores(second[None], others[None], torch.ones(1, 3, dtype=torch.bool))
    assert torch.isneginf(scores[1, 3:]).all()
    torch.testing.assert_close(scores[1, :3], alone[0])


@pytest.mark.parametrize("k", [1, 3, 99])
def test_select_returns_the_best_chunks_first(k: int):
    retriever = StateConditionedRetriever(5, 4)
    condition, chunks = page()
    scores = retriever.scores(condition[None], chunks[None], torch.ones(1, 6, dtype=torch.bool))[0].tolist()
    assert retriever.select(condition, chunks, k) == sorted(range(6), key=lambda index: -scores[index])[:k]


def test_select_gives_equal_scores_to_the_earlier_chunk():
    condition, _ = page()
    assert StateConditionedRetriever(5, 4).select(condition, torch.ones(40, 4), 40) == list(range(40))


def test_a_page_without_chunks_selects_nothing():
    assert StateConditionedRetriever(5, 4).select(torch.ones(5), torch.zeros(0, 4), 3) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_the_seed_alone_decides_the_initial_weights(shape: dict):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = StateConditionedRetriever(5, 4, **shape, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert weights(StateConditionedRetriever(5, 4, **shape, seed=3)) == weights(first)
    assert weights(StateConditionedRetriever(5, 4, **shape, seed=4)) != weights(first)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_retriever_comes_back_as_it_was(shape: dict, tmp_path: Path):
    retriever = StateConditionedRetriever(5, 4, **shape, seed=9)
    retriever.save_pretrained(tmp_path / "retriever")
    loaded = StateConditionedRetriever.from_pretrained(tmp_path / "retriever")
    assert loaded.config == retriever.config
    assert weights(loaded) == weights(retriever)
    assert not loaded.training
    assert {path.name for path in (tmp_path / "retriever").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }


def test_a_retriever_refuses_the_vectors_of_another_encoder(tmp_path: Path):
    StateConditionedRetriever(5, 8, text_encoder="hashing-8").save_pretrained(tmp_path)
    loaded = StateConditionedRetriever.from_pretrained(tmp_path)
    loaded.check_encoder(HashingEncoder(8))
    with pytest.raises(ValueError, match="hashing-9"):
        loaded.check_encoder(HashingEncoder(9))
    StateConditionedRetriever(5, 8).check_encoder(HashingEncoder(8))
    with pytest.raises(ValueError, match="4 dimensions"):
        StateConditionedRetriever(5, 4).check_encoder(HashingEncoder(8))


def test_a_configuration_key_that_is_unknown_is_refused(tmp_path: Path):
    StateConditionedRetriever(5, 4).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"layers": 2}))
    with pytest.raises(ValueError, match="layers"):
        StateConditionedRetriever.from_pretrained(tmp_path)


def test_a_retriever_torn_by_a_crash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    StateConditionedRetriever(5, 4).save_pretrained(tmp_path)
    import os

    fsync, calls = os.fsync, iter(range(9))

    def fail(descriptor: int) -> None:
        if next(calls) == 1:
            raise OSError("disk full")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        StateConditionedRetriever(6, 4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not fit"):
        StateConditionedRetriever.from_pretrained(tmp_path)


def test_damaged_and_missing_files_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        StateConditionedRetriever.from_pretrained(tmp_path)
    StateConditionedRetriever(5, 4).save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        StateConditionedRetriever.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"chunk_dim": "many"}))
    with pytest.raises(ValueError, match=r"config\.json, field 'chunk_dim'"):
        StateConditionedRetriever.from_pretrained(tmp_path)


def test_shapes_that_do_not_fit_are_refused():
    retriever = StateConditionedRetriever(5, 4)
    condition, chunks = page()
    mask = torch.ones(1, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"conditions must have shape \[B, 5\]"):
        retriever.scores(condition[None, :3], chunks[None], mask)
    with pytest.raises(ValueError, match=r"chunks must have shape \[1, n, 4\]"):
        retriever.scores(condition[None], chunks[None, :, :2], mask)
    with pytest.raises(ValueError, match="mask must be bool"):
        retriever.scores(condition[None], chunks[None], mask.float())
    with pytest.raises(ValueError, match="one condition"):
        retriever.select(condition[None], chunks, 1)
    with pytest.raises(ValueError, match="at least 1"):
        retriever.select(condition, chunks, 0)
    with pytest.raises(ValidationError):
        StateConditionedRetriever(0, 4)
