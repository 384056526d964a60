"""How the steering experiment learns when an answer is right, and how it measures that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.steering.confidence import Observed, cross_fitted_calibration
from experiments.steering.data import Data
from experiments.steering.explaining import explain_stages
from experiments.steering.methods import DEFAULT_WITH_TUNING, SCORER, Scores, train_predictor_stage
from experiments.steering.settings import SteeringSettings, TunedRows
from experiments.steering.tuned_encoder import TUNED, tuned_data
from lab.run import RunDirectory
from sightline.jepa import SteeringDataset
from sightline.jepa.data import SteeringTexts, read_dataset
from sightline.jepa.explaining import Outcomes, reliability
from sightline.jepa.explaining.evidence import FEATURES
from sightline.retrieval import SentenceTransformerEncoder


def observed(right: np.ndarray, seed: int, first_group: int) -> Observed:
    """Questions whose first feature, the same for every seed, says how likely the outcome given is."""
    features = np.random.default_rng(seed).normal(size=(len(right), len(FEATURES)))
    features[:, 0] = np.linspace(-3, 3, len(right))
    return Observed(features, Outcomes(right, right, right), np.arange(len(right)) + first_group)


def drawn(seed: int, count: int = 600) -> np.ndarray:
    chance = 1 / (1 + np.exp(-np.linspace(-3, 3, count)))
    return np.random.default_rng(seed).random(count) < chance


def test_a_part_is_stated_by_what_the_other_parts_taught() -> None:
    parts = [observed(drawn(seed), seed, 1000 * seed) for seed in range(3)]
    found = cross_fitted_calibration(parts)
    assert found["calibration_error"] < 0.06
    assert 0.5 < found["error_by_chance_at_least"] / found["calibration_error"] < 2

    turned = [*parts[:2], observed(~drawn(2), 2, 2000)]  # what the others taught is wrong of this part
    stated = np.concatenate(
        [
            Observed.joined([each for each in turned if each is not part]).policy().decide(part.features).confidence
            for part in turned
        ]
    )
    right = np.concatenate([part.outcomes.first_right for part in turned])
    error = cross_fitted_calibration(turned)["calibration_error"]
    assert error == pytest.approx(reliability(stated, right).error)
    pooled = Observed.joined(turned)
    fitted = pooled.policy().decide(pooled.features).confidence
    assert error > reliability(fitted, right).error + 0.1


def test_questions_that_share_their_luck_show_a_larger_error_by_chance() -> None:
    right = drawn(0)
    alone = [observed(right, seed, 1000 * seed) for seed in range(2)]
    together = [Observed(part.features, part.outcomes, part.groups // 100) for part in alone]
    apart, shared = (cross_fitted_calibration(parts) for parts in (alone, together))
    assert apart["calibration_error"] == shared["calibration_error"]
    assert shared["error_by_chance_at_most"] > 2 * apart["error_by_chance_at_most"]


def test_what_was_observed_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = observed(drawn(0), 0, 5)
    outcomes = Outcomes(drawn(1), drawn(2), drawn(3))
    Observed(first.features, outcomes, first.groups).write(tmp_path / "observed.npz")
    again = Observed.read(tmp_path / "observed.npz")
    assert np.array_equal(again.features, first.features)
    assert np.array_equal(again.groups, first.groups)
    for name in ("first_right", "among_results", "subspace_right"):
        assert np.array_equal(getattr(again.outcomes, name), getattr(outcomes, name))


def test_a_tuned_encoder_is_explained_and_its_folds_are_tuned_without_what_they_are_asked(
    texts: SteeringTexts,
    model_folder: Path,
    dataset: SteeringDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import experiments.steering.tuned_encoder as module

    monkeypatch.setattr(module, "load_texts", lambda settings, name: texts)
    tune, tuned_on = module.tune_encoder, []

    def recorded(model: Any, given: SteeringDataset, *arguments: Any, **named: Any) -> object:
        tuned_on.append(set(given.pairs[given.pair_split == 0, 0].tolist()))
        return tune(model, given, *arguments, **named)

    monkeypatch.setattr(module, "tune_encoder", recorded)
    tuning = TunedRows(epochs=1, batch_size=8, max_tokens=16, seeds=1, folds=2)
    scorer = {"model": "scorer", "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 16}}
    given = {"encoder": str(model_folder), "seeds": (3, 4), "data": ("shop",), "negatives": "corpus"}
    settings = SteeringSettings.model_validate(given | {"tuning": tuning.model_dump(), "scorer": scorer})
    run = RunDirectory(tmp_path / "run", settings.identity())
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    train_predictor_stage(settings, run, data, SCORER, 3)
    scores = Scores({}, {}, np.zeros(0, np.int64), (SCORER, SCORER), (True,))
    assert scores.ranked[-1] == DEFAULT_WITH_TUNING
    (found,) = explain_stages(settings, run, data, DEFAULT_WITH_TUNING, scores)

    held_out = [set(data.without_fold(fold, 2).dataset.queries("test").tolist()) for fold in range(2)]
    train = set(dataset.pairs[dataset.pair_split == 0, 0].tolist())
    assert held_out[0] | held_out[1] == train
    assert sorted(map(sorted, tuned_on)) == sorted(map(sorted, (train, held_out[0], held_out[1])))
    fold = tuned_data(settings, run, data.without_fold(1, 2), 3)
    assert set(fold.dataset.queries("test").tolist()) == held_out[1]
    encoder = SentenceTransformerEncoder(run.stage_folder("2-training", f"{TUNED}-shop-fold1-seed3") / "model")
    np.testing.assert_allclose(fold.dataset.sources, encoder.encode(dataset.source_texts), atol=1e-5)
    whole = read_dataset(run.stage_folder("1-data", f"shop by the {TUNED}-seed3") / "dataset")
    assert not np.allclose(fold.dataset.sources, whole.sources, atol=1e-3)
    rows = 3 * len(dataset.queries("test"))
    assert found["questions"] == rows
    assert 0 < found["of_all"]["calibration_error"] < 1
    observed_rows = [
        len(
            Observed.read(run.stage_folder("4-evidence", f"{DEFAULT_WITH_TUNING}-shop-fold{k}") / "observed.npz").groups
        )
        for k in range(2)
    ]
    assert observed_rows == [3 * len(held) for held in held_out]
