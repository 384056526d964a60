"""The rows of the steering experiment whose encoder is tuned itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.steering.data import FILTERED, MODES, Data, embed_in_parts
from experiments.steering.methods import score_tuned_stages
from experiments.steering.settings import EncoderTuning, SteeringSettings
from experiments.steering.tuned_encoder import (
    TUNED,
    TUNED_METHODS,
    known_answers,
    training_batches,
    tune_and_embed_stages,
    tune_encoder,
    tuned_method,
    tuned_methods,
)
from lab.encoder import open_model
from lab.run import RunDirectory
from lab.settings import HASHING
from sightline.jepa import SteeringDataset, evaluate
from sightline.jepa.ranking import fit_lexical_index
from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder

TUNING = EncoderTuning(epochs=4, batch_size=8, max_tokens=16, learning_rate=0.01, checkpoint_steps=3)


def settings_of(model_folder: Path, tuning: EncoderTuning = TUNING) -> SteeringSettings:
    return SteeringSettings(encoder=str(model_folder), seeds=(0,), data=("shop",), tuning=tuning)


def tuned_weights(model_folder: Path, data: SteeringDataset, checkpoint: Path) -> dict[str, torch.Tensor]:
    model = open_model(settings_of(model_folder))
    tune_encoder(model, data, TUNING, seed=0, checkpoint=checkpoint)
    return model.state_dict()


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_every_batch_holds_pairs_for_training_alone_and_every_epoch_all_of_them(dataset: SteeringDataset) -> None:
    batches = training_batches(dataset, TUNING, 0)
    training = dataset.pairs[dataset.pair_split == 0]
    per_epoch = -(-len(training) // TUNING.batch_size)
    assert len(batches) == TUNING.epochs * per_epoch
    orders = [np.concatenate(batches[at : at + per_epoch]) for at in range(0, len(batches), per_epoch)]
    for order in orders:
        assert sorted(order.tolist()) == sorted(training.tolist())
    assert not np.array_equal(orders[0], orders[1])


def test_what_validation_and_test_say_changes_no_weight(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    training = dataset.pairs[dataset.pair_split == 0]

    def with_others_replaced(said: Sequence[str], kept: np.ndarray) -> tuple[str, ...]:
        return tuple(text if row in kept else "thing1 ask2" for row, text in enumerate(said))

    changed = replace(
        dataset,
        question_texts=with_others_replaced(dataset.question_texts, training[:, 0]),
        source_texts=with_others_replaced(dataset.source_texts, training[:, 1]),
    )
    assert changed.source_texts != dataset.source_texts
    first = tuned_weights(model_folder, dataset, tmp_path / "first.pt")
    assert same(first, tuned_weights(model_folder, changed, tmp_path / "second.pt"))
    one = int(training[0, 1])
    other = replace(
        dataset, source_texts=(*dataset.source_texts[:one], "thing1 ask2", *dataset.source_texts[one + 1 :])
    )
    assert not same(first, tuned_weights(model_folder, other, tmp_path / "third.pt"))


def test_a_tuning_that_was_killed_goes_on_to_the_same_weights(
    model_folder: Path,
    dataset: SteeringDataset,
    tmp_path: Path,
    kill_at_call: Callable[..., list[int]],
) -> None:
    import experiments.steering.tuned_encoder as module

    whole = tuned_weights(model_folder, dataset, tmp_path / "whole.pt")
    seen = kill_at_call(module, "contrastive_loss", 8)
    with pytest.raises(KeyboardInterrupt):
        tuned_weights(model_folder, dataset, tmp_path / "killed.pt")
    assert same(whole, tuned_weights(model_folder, dataset, tmp_path / "killed.pt"))
    steps = len(training_batches(dataset, TUNING, 0))
    assert len(seen) == 8 + steps - 6  # six steps were on the disk


def test_tuning_teaches_questions_what_answers_them_and_leaves_a_plain_model(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    before = open_model(settings_of(model_folder)).state_dict()
    model = open_model(settings_of(model_folder))
    losses = tune_encoder(model, dataset, TUNING, seed=0, checkpoint=tmp_path / "checkpoint.pt")
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert not model.training
    assert model.state_dict().keys() == before.keys()
    changed = {name for name, values in model.state_dict().items() if not torch.equal(values, before[name])}
    assert changed
    assert all(".dense." in name or ".self." in name for name in changed)  # linear layers, no embedding and no norm


def test_answers_of_equal_questions_and_of_equal_text_are_no_wrong_ones(dataset: SteeringDataset) -> None:
    pairs = dataset.pairs[dataset.pair_split == 0][:4]
    assert np.array_equal(known_answers(dataset, pairs), np.eye(4, dtype=bool))
    words, sources = np.array(dataset.question_text_ids), np.array(dataset.source_text_ids)
    words[pairs[1, 0]] = words[pairs[0, 0]]
    sources[pairs[3, 1]] = sources[pairs[2, 1]]
    found = known_answers(replace(dataset, question_text_ids=words, source_text_ids=sources), pairs)
    assert set(zip(*np.nonzero(found & ~np.eye(4, dtype=bool)), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_the_rows_are_off_unless_asked_for_and_need_a_model(model_folder: Path) -> None:
    assert tuned_methods(SteeringSettings()) == ()
    assert tuned_methods(settings_of(model_folder)) == TUNED_METHODS
    with pytest.raises(ValueError, match="needs an encoder with a model"):
        SteeringSettings(encoder=HASHING, tuning=EncoderTuning(epochs=1))
    with pytest.raises(ValueError, match="no model that could be tuned"):
        open_model(SteeringSettings(encoder=HASHING))


def test_stages_give_rows_that_a_second_start_reads_from_the_disk(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import experiments.steering.tuned_encoder as module

    settings = settings_of(model_folder)
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    ids = dataset.queries("test")

    def ranks() -> dict[tuple[str, str], np.ndarray]:
        run = RunDirectory(tmp_path / "run", settings.identity())
        found = {}
        for name in TUNED_METHODS:
            method = tuned_method(settings, run, data, name, 0, lambda: fit_lexical_index(dataset))
            for mode in MODES:
                found[name, mode] = evaluate(method, dataset, ids, data.ask("test", mode).steering).reciprocal_rank
        return found

    first = ranks()
    assert {mode: len(first[TUNED, mode]) for mode in MODES} == dict.fromkeys(MODES, len(ids))
    assert np.array_equal(first[TUNED, "none"], first[TUNED, "category"])  # the tuned encoder alone knows no steering
    soft = TUNED_METHODS[1]
    assert first[soft, "category"].mean() > first[soft, "none"].mean()
    adapted = TUNED_METHODS[-1]
    assert not np.array_equal(first[adapted, "none"], first[TUNED_METHODS[-2], "none"])

    def refused(*arguments: object, **named: object) -> None:
        raise AssertionError("a stage that is there was made again")

    monkeypatch.setattr(module, "tune_encoder", refused)
    monkeypatch.setattr(module, "embed_in_parts", refused)
    second = ranks()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    run = RunDirectory(tmp_path / "run", settings.identity())
    with np.load(tune_and_embed_stages(settings, run, data, 0) / "vectors.npz", allow_pickle=False) as vectors:
        kept = run.stage_folder("2-training", f"{TUNED}-shop-seed0")
        anew = SentenceTransformerEncoder(kept / "model").encode(dataset.source_texts)
        np.testing.assert_allclose(vectors["sources"], anew, atol=1e-5)
    rows = [json.loads(line) for line in (kept / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_experiment_has_a_row_of_each_for_as_many_seeds_as_are_asked_for(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    tuning = TUNING.model_copy(update={"epochs": 1, "seeds": 2})
    settings = settings_of(model_folder, tuning).model_copy(update={"seeds": (3, 4, 5), "adapter_epochs": 2})
    run = RunDirectory(tmp_path / "run", settings.identity())
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    found = score_tuned_stages(settings, run, data, lambda: fit_lexical_index(dataset))
    assert tuple(found) == TUNED_METHODS
    count = len(dataset.queries("test"))
    for rows in found.values():
        assert len(rows) == 2
        assert all(row[f"{mode}/reciprocal_rank"].shape == (count,) for row in rows for mode in (*MODES, *FILTERED))
    first, second = found[TUNED]
    assert not np.array_equal(first["none/reciprocal_rank"], second["none/reciprocal_rank"])
    off = settings_of(model_folder, EncoderTuning())
    assert score_tuned_stages(off, run, data, lambda: fit_lexical_index(dataset)) == {}


def test_embedding_in_parts_gives_the_rows_of_the_texts_in_their_order(model_folder: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder(model_folder)
    given = ["say1 thing1 please", "ask1", "ask2 about2"]
    found = embed_in_parts(CachedEncoder(encoder, tmp_path / "cache.sqlite"), given, "these")
    np.testing.assert_allclose(found, encoder.encode(given), atol=1e-6)
