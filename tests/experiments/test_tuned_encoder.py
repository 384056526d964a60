"""The rows of the steering experiment whose encoder is tuned itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.steering.data import FILTERED, MODES, Data, embed_in_parts
from experiments.steering.findings import DataFindings
from experiments.steering.methods import (
    DEFAULT_WITH_BM25,
    DEFAULT_WITH_TUNING,
    SCORER,
    TUNED_DEFAULT_WITH_BM25,
    Scores,
    score_tuned_stages,
    train_predictor_stage,
)
from experiments.steering.report import scorer_tables
from experiments.steering.settings import SteeringSettings, TunedRows
from experiments.steering.tuned_encoder import (
    TUNED,
    TUNED_METHODS,
    choose_encoders,
    tune_and_embed_stages,
    tuned_data,
    tuned_method,
    tuned_methods,
)
from lab.encoder import open_model
from lab.run import RunDirectory
from lab.settings import HASHING
from sightline.jepa import JEPAModel, SteeringDataset, evaluate
from sightline.jepa.data import SteeringTexts, read_dataset
from sightline.jepa.ranking import fit_lexical_index
from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder

TUNING = TunedRows(epochs=4, batch_size=8, max_tokens=16, learning_rate=0.01, checkpoint_steps=3)


def settings_of(model_folder: Path, tuning: TunedRows = TUNING) -> SteeringSettings:
    return SteeringSettings(encoder=str(model_folder), seeds=(0,), data=("shop",), tuning=tuning)


@pytest.fixture(autouse=True)
def small_texts(texts: SteeringTexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.steering.tuned_encoder.load_texts", lambda settings, name: texts)


def test_the_rows_are_off_unless_asked_for_and_need_a_model(model_folder: Path) -> None:
    assert tuned_methods(SteeringSettings()) == ()
    assert tuned_methods(settings_of(model_folder)) == TUNED_METHODS
    with pytest.raises(ValueError, match="needs an encoder with a model"):
        SteeringSettings(encoder=HASHING, tuning=TunedRows(epochs=1))
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
    anew = read_dataset(tune_and_embed_stages(settings, run, data, 0) / "dataset")
    kept = run.stage_folder("2-training", f"{TUNED}-shop-seed0")
    encoder = SentenceTransformerEncoder(kept / "model")
    for vectors, said in ((anew.sources, dataset.source_texts), (anew.category_vectors, dataset.names)):
        np.testing.assert_allclose(vectors, encoder.encode(said), atol=1e-5)
    assert np.array_equal(anew.pair_split, dataset.pair_split)
    rows = [json.loads(line) for line in (kept / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_experiment_has_a_row_of_each_for_as_many_seeds_as_are_asked_for(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    tuning = TUNING.model_copy(update={"epochs": 1, "seeds": 2})
    small = {"seeds": (3, 4, 5), "adapter_epochs": 2, "adapter_choices": 1, "negatives": "corpus"}
    scorer = {"model": "scorer", "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 16}}
    given = settings_of(model_folder, tuning).model_dump() | small | {"scorer": scorer}
    settings = SteeringSettings.model_validate(given)
    run = RunDirectory(tmp_path / "run", settings.identity())
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    train_predictor_stage(settings, run, data, SCORER, 3)  # it settles what others are contrasted with
    found = score_tuned_stages(settings, run, data, lambda: fit_lexical_index(dataset))
    assert tuple(found) == (*TUNED_METHODS, TUNED_DEFAULT_WITH_BM25)
    count = len(dataset.queries("test"))
    for rows in found.values():
        assert len(rows) == 2
        assert all(row[f"{mode}/reciprocal_rank"].shape == (count,) for row in rows for mode in (*MODES, *FILTERED))
    first, second = found[TUNED]
    assert not np.array_equal(first["none/reciprocal_rank"], second["none/reciprocal_rank"])
    model = JEPAModel.from_pretrained(run.stage_folder("2-training", f"{TUNED}, default-shop-seed4") / "model")
    assert model.encoder == tuned_data(settings, run, data, 4).dataset.encoder
    off = settings_of(model_folder, TunedRows())
    assert score_tuned_stages(off, run, data, lambda: fit_lexical_index(dataset)) == {}


def test_validation_chooses_the_encoder_of_the_default_with_tuning_seed_by_seed() -> None:
    def row(*validation: float) -> dict[str, np.ndarray]:
        return {f"validation/{mode}": np.array(score) for mode, score in zip(MODES, validation, strict=True)}

    untuned = [row(0.5, 0.5, 0.5, 0.5), row(0.5, 0.5, 0.5, 0.5), row(0.4, 0.4, 0.4, 0.4), row(0, 0, 0, 0)]
    tuned = [row(0.9, 0.5, 0.5, 0.3), row(0.9, 0.5, 0.5, 0.1), row(0.3, 0.4, 0.4, 0.4)]
    rows, chosen = choose_encoders(untuned, tuned)
    assert chosen == [True, False, False]
    assert [each is other for each, other in zip(rows, (tuned[0], untuned[1], untuned[2]), strict=True)] == [True] * 3
    assert choose_encoders(untuned, []) == ([], [])


def test_the_report_says_how_often_the_tuned_encoder_was_chosen(dataset: SteeringDataset, model_folder: Path) -> None:
    rng = np.random.default_rng(0)
    settings = settings_of(model_folder)
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    groups = data.groups(dataset.queries("test"))
    names = ("scorer", "predictor", "routed predictor", "scorer with residual", "cosine", "BM25", DEFAULT_WITH_BM25)
    names += ("adapter, unsteered", "adapter, steered", "adapter, soft filter", "scorer with BM25")
    names += ("adapter, soft filter with BM25", *TUNED_METHODS, TUNED_DEFAULT_WITH_BM25, DEFAULT_WITH_TUNING)
    modes, metrics = (*MODES, *FILTERED), ("reciprocal_rank", "ndcg_at_10", "recall_at_10")
    values = {
        name: {mode: {metric: rng.random((2, len(groups))) for metric in metrics} for mode in modes} for name in names
    }
    validation = {name: dict.fromkeys(modes, 0.5) for name in names}
    found = DataFindings(settings, data, Scores(values, validation, groups, ("scorer", "scorer"), (True, False)), {})
    table = next(each for each in scorer_tables(found) if each.columns[0] == f"MRR of the {DEFAULT_WITH_TUNING}")
    assert f"minus {DEFAULT_WITH_BM25}" in {row[0] for row in table.rows}
    assert f"The {DEFAULT_WITH_TUNING} has the tuned encoder with 1 of 2 seeds" in found.recommendation()
    without = DataFindings(settings, data, Scores(values, validation, groups, ("scorer", "scorer")), {})
    assert "tuned encoder with" not in without.recommendation()


def test_embedding_in_parts_gives_the_rows_of_the_texts_in_their_order(model_folder: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder(model_folder)
    given = ["say1 thing1 please", "ask1", "ask2 about2"]
    found = embed_in_parts(CachedEncoder(encoder, tmp_path / "cache.sqlite"), given, "these")
    np.testing.assert_allclose(found, encoder.encode(given), atol=1e-6)
