from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.baselines.adapter import Adapter, train_adapter
from sightline.jepa.baselines.config import AdapterSettings
from sightline.jepa.baselines.simple import fit_soft_filter, softly_filtered
from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import SteeringKind, steering
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.ranking.evaluation import evaluate, method_scores
from sightline.jepa.training import staged
from sightline.jepa.training.checkpoint import CheckpointError
from sightline.jepa.training.history import read_history
from sightline.jepa.training.staged import StagedRun, staged_scorer

CONFIG = JEPAConfig.model_validate(
    {"predictor": {"dimension": 16, "hidden_dimension": 8}, "scorer": {"filter": "staged"}}
)


def scores_of(model: JEPAModel, dataset: SteeringDataset, kind: SteeringKind, strength: float = 1.0) -> np.ndarray:
    ids = dataset.queries("test")
    steered = steering(dataset, ids, kind)
    vectors = model.predict(
        torch.from_numpy(np.array(dataset.questions[ids])),
        torch.from_numpy(steered.vectors),
        torch.from_numpy(steered.has_steering),
        strength,
    )
    sources = torch.from_numpy(np.array(dataset.sources))
    return (vectors @ model.embed_index(sources, torch.from_numpy(np.array(dataset.source_category))).T).numpy()


def model_of(scorer: FilterAwareScorer, dataset: SteeringDataset) -> JEPAModel:
    return JEPAModel(CONFIG, scorer, encoder=dataset.encoder, names=dataset.names)


@pytest.fixture(scope="module")
def finished(toy_dataset: SteeringDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StagedRun]:
    folder = tmp_path_factory.mktemp("staged")
    run = StagedRun(CONFIG, toy_dataset, folder=folder)
    run.fit()
    return folder, run


@settings(deadline=None, max_examples=20)
@given(
    bonus=st.sampled_from([0.0, 0.02, 0.12, 0.5]),
    floor=st.floats(0.001, 0.5),
    seed=st.integers(0, 100),
    kind=st.sampled_from(["none", "category", "keywords"]),
)
def test_its_scores_are_those_of_an_adapter_with_a_soft_filter_but_for_a_number_per_question(
    make_toy_dataset: Callable[..., SteeringDataset], bonus: float, floor: float, seed: int, kind: SteeringKind
):
    dataset = make_toy_dataset(seed=seed)
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.normal(scale=0.3, size=(16, 16)).astype(np.float32))
    adapter = Adapter(weights, torch.zeros(16, 16), AdapterSettings())
    ids = dataset.queries("test")
    steered = steering(dataset, ids, kind)
    expected = method_scores(adapter.method(dataset), ids, steered)(slice(None))
    nearest = (steered.vectors @ dataset.category_vectors.T).argmax(axis=1)
    expected = expected + bonus * (nearest[:, None] == dataset.source_category) * steered.has_steering[:, None]

    config = CONFIG.scorer.model_copy(update={"category_floor": floor})
    untrained = FilterAwareScorer(CONFIG.predictor, config, torch.from_numpy(np.array(dataset.category_vectors)))
    found = scores_of(model_of(staged_scorer(untrained, adapter, bonus), dataset), dataset, kind)
    apart = found - expected
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:, :1], apart.shape), atol=2e-5)
    assert torch.count_nonzero(untrained.question_map.weight) == 0  # it was copied


def test_a_run_is_the_soft_filter_on_top_of_the_adapter(toy_dataset: SteeringDataset, finished: tuple[Path, StagedRun]):
    run = finished[1]
    baseline = fit_soft_filter(toy_dataset, CONFIG.training.seed)
    ids = toy_dataset.queries("validation")
    for mode in ("none", "category"):
        expected = evaluate(baseline, toy_dataset, ids, steering(toy_dataset, ids, mode)).reciprocal_rank.mean()
        assert run.result.best_validation[mode] == pytest.approx(float(expected), abs=1e-6)
    assert run.result.history[1].training == {"filter/bonus": baseline.settings["bonus"]}
    assert run.result.best_score > run.result.history[0].score
    assert run.config.loss.temperature == baseline.settings["temperature"]
    assert (run.config.loss.negatives == "corpus") == bool(baseline.settings["corpus"])
    assert run.result.finished


def test_the_same_run_gives_the_same_model_and_leaves_global_randomness_alone(
    toy_dataset: SteeringDataset, finished: tuple[Path, StagedRun], tmp_path: Path
):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    StagedRun(CONFIG, toy_dataset, folder=tmp_path).fit()
    assert torch.equal(torch.get_rng_state(), before)
    name = "model/model.safetensors"
    assert (tmp_path / name).read_bytes() == (finished[0] / name).read_bytes()


def test_a_run_that_is_over_is_taken_up_as_it_was(toy_dataset: SteeringDataset, finished: tuple[Path, StagedRun]):
    folder, run = finished
    resumed = StagedRun.resume(folder, toy_dataset, epochs=40)
    assert resumed.result == run.result
    assert resumed.fit() == run.result
    assert resumed.config.training.epochs == 40
    assert read_history(folder / "history.jsonl") == list(run.result.history)
    for model in (resumed.model, JEPAModel.from_pretrained(folder / "model")):
        np.testing.assert_array_equal(
            scores_of(model, toy_dataset, "category"), scores_of(run.model, toy_dataset, "category")
        )


def test_other_data_and_tensors_that_do_not_fit_are_refused(
    toy_dataset: SteeringDataset, make_toy_dataset: Callable[..., SteeringDataset], finished: tuple[Path, StagedRun]
):
    with pytest.raises(CheckpointError, match="another data set"):
        StagedRun.resume(finished[0], make_toy_dataset(seed=1))
    wider = CONFIG.model_copy(update={"predictor": CONFIG.predictor.model_copy(update={"dimension": 8})})
    with pytest.raises(ValueError, match=r"predictor\.dimension is 8"):
        StagedRun(wider, toy_dataset)


def test_nothing_is_trained_while_something_is_to_be_left_for_later(toy_dataset: SteeringDataset, tmp_path: Path):
    run = StagedRun(CONFIG, toy_dataset, folder=tmp_path)
    assert [record.epoch for record in run.fit(stop_after=3).history] == [0]
    assert not run.result.finished
    with pytest.raises(FileNotFoundError):
        StagedRun.resume(tmp_path, toy_dataset)


def test_the_untrained_scorer_is_kept_where_training_makes_it_worse(
    easy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def spoilt(dataset: SteeringDataset, seed: int, **options: Any) -> Adapter:
        trained = train_adapter(dataset, seed, kind="none", grid=(AdapterSettings(max_epochs=1),))
        return replace(trained, question_weights=-2 * torch.eye(16))

    monkeypatch.setattr(staged, "train_adapter", spoilt)
    run = StagedRun(CONFIG, easy_dataset, folder=tmp_path)
    before = scores_of(run.model, easy_dataset, "category")
    result = run.fit()
    assert (result.best_epoch, len(result.history)) == (0, 2)
    np.testing.assert_array_equal(scores_of(run.model, easy_dataset, "category"), before)
    np.testing.assert_array_equal(
        scores_of(StagedRun.resume(tmp_path, easy_dataset).model, easy_dataset, "category"), before
    )


def test_the_dial_goes_from_no_steering_to_the_nearest_category_alone(
    toy_dataset: SteeringDataset, finished: tuple[Path, StagedRun]
):
    model = finished[1].model
    np.testing.assert_allclose(
        scores_of(model, toy_dataset, "category", 0.0), scores_of(model, toy_dataset, "none"), atol=1e-6
    )
    only = scores_of(model, toy_dataset, "category", np.inf)
    asked = toy_dataset.question_category[toy_dataset.queries("test")]
    assert (toy_dataset.source_category[only.argmax(axis=1)] == asked).all()


def test_the_filter_is_weighed_for_the_share_of_unreliable_steering_that_is_asked_for(
    toy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def watched(*arguments: Any, unreliable_share: float) -> Any:
        asked.append(unreliable_share)
        return softly_filtered(*arguments, unreliable_share=unreliable_share)

    monkeypatch.setattr(staged, "softly_filtered", watched)
    training = CONFIG.training.model_copy(update={"unreliable_share": 0.7})
    StagedRun(CONFIG.model_copy(update={"training": training}), toy_dataset).fit()
    assert asked == [0.7]
