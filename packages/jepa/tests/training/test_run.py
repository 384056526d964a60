from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.jepa.config import JEPAConfig, JEPATrainingConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.negatives import mine_negatives
from sightline.jepa.losses.schedules import cosine, learning_rate_at
from sightline.jepa.models.model import JEPAModel, ModelError
from sightline.jepa.models.routed_predictor import RoutedPredictor
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.training.history import TrainingResult, read_history
from sightline.jepa.training.run import TrainingRun

SMALL = {"dimension": 16, "hidden_dimension": 16}
TRAINING = {"epochs": 20, "batch_size": 48, "learning_rate": 0.05, "warmup_epochs": 1, "average_tau": 0.8}


def config(**changes: Any) -> JEPAConfig:
    loss = {"negatives": "corpus_all"} | changes.pop("loss", {})
    values = {"model": "plain", "predictor": SMALL, "training": TRAINING, "loss": loss}
    return JEPAConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def plain(toy_dataset: SteeringDataset) -> tuple[TrainingRun, TrainingResult]:
    trainer = TrainingRun(config(), toy_dataset)
    return trainer, trainer.fit()


def category_mrr(result: TrainingResult, epoch: int) -> float:
    return result.history[epoch].validation["category"]


def test_training_learns_to_find_sources_of_questions_it_has_not_seen(plain: tuple[TrainingRun, TrainingResult]):
    _, result = plain
    assert category_mrr(result, 0) < 0.1
    assert category_mrr(result, result.best_epoch) > 0.6
    assert result.finished


def test_the_best_epoch_is_the_one_with_the_highest_mean_over_the_fixed_modes(
    plain: tuple[TrainingRun, TrainingResult],
):
    _, result = plain
    scores = [np.mean(list(record.validation.values())) for record in result.history]
    assert [record.score for record in result.history] == pytest.approx(scores)
    assert result.best_epoch == int(np.argmax(scores))
    assert set(result.history[0].validation) == {"none", "category", "unreliable"}


def test_the_history_tells_losses_gradients_steering_and_collapse(plain: tuple[TrainingRun, TrainingResult]):
    record = plain[1].history[3]
    assert {"info_nce/loss", "info_nce/accuracy", "info_nce/temperature", "total/loss"} <= set(record.training)
    assert record.gradient_norm["info_nce"] > 0
    assert sum(record.steering.values()) == pytest.approx(1.0)
    assert 1 < record.collapse["rank_me"] <= 16
    assert record.learning_rate == pytest.approx(learning_rate_at(3 * 2 - 1, 2, config().training))


def test_the_same_run_gives_the_same_numbers_and_leaves_global_randomness_alone(
    toy_dataset: SteeringDataset, plain: tuple[TrainingRun, TrainingResult]
):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = TrainingRun(config(), toy_dataset).fit()
    assert torch.equal(torch.get_rng_state(), before)
    assert [record.validation for record in again.history] == [record.validation for record in plain[1].history]
    assert [record.training for record in again.history] == [record.training for record in plain[1].history]


def test_another_seed_gives_another_run(toy_dataset: SteeringDataset, plain: tuple[TrainingRun, TrainingResult]):
    other = TrainingRun(config(training=TRAINING | {"epochs": 1, "seed": 1}), toy_dataset).fit()
    assert other.history[1].training != plain[1].history[1].training
    assert other.history[0].validation == plain[1].history[0].validation


def test_the_routed_model_learns_to_predict_and_to_route(toy_dataset: SteeringDataset):
    trainer = TrainingRun(config(model="routed"), toy_dataset)
    result = trainer.fit()
    assert category_mrr(result, result.best_epoch) > 0.6
    first, last = result.history[1], result.history[-1]
    assert last.training["routing/accuracy"] > first.training["routing/accuracy"]
    assert {"routing", "load_balance", "routing_confidence", "residual", "disentanglement"} <= set(last.gradient_norm)
    assert min(last.gradient_norm[name] for name in ("routing", "load_balance", "routing_confidence")) > 0


def test_the_routing_temperature_is_annealed(toy_dataset: SteeringDataset):
    trainer = TrainingRun(config(model="routed", training=TRAINING | {"epochs": 8, "patience": 8}), toy_dataset)
    predictor = trainer._predictor
    assert isinstance(predictor, RoutedPredictor)
    trainer.fit(stop_after=1)
    assert predictor.router.temperature == pytest.approx(cosine(1.0, 0.1, 1 / 16))
    trainer.fit()
    assert predictor.router.temperature == pytest.approx(cosine(1.0, 0.1, 15 / 16))


def test_a_projection_is_trained_and_its_target_follows(toy_dataset: SteeringDataset):
    changes = {"target": "projection", "ema": {"tau_start": 0.5, "tau_end": 0.9}}
    trainer = TrainingRun(config(**changes), toy_dataset)
    result = trainer.fit()
    assert category_mrr(result, result.best_epoch) > 0.4
    sources = torch.from_numpy(np.array(toy_dataset.sources))
    index = trainer.model.embed_index(sources, torch.from_numpy(np.array(toy_dataset.source_category)))
    torch.testing.assert_close(index.norm(dim=1), torch.ones(len(sources)))
    assert (index - sources).norm(dim=1).mean() > 0.01


@pytest.mark.parametrize("mined", [True, False])
def test_contrasting_within_the_batch_learns_too(toy_dataset: SteeringDataset, mined: bool):
    negatives = mine_negatives(toy_dataset, 4, seed=0).ids if mined else None
    loss = {"negatives": "batch", "num_negatives": 4 * mined, "regression": 0.5, "centroid": 0.1, "vicreg": 0.05}
    changes = {"loss": loss}
    result = TrainingRun(config(**changes), toy_dataset, negatives=negatives).fit()
    assert category_mrr(result, result.best_epoch) > 0.5
    assert {"regression/loss", "centroid/accuracy", "vicreg/variance"} <= set(result.history[1].training)


@pytest.mark.parametrize("changes", [{}, {"model": "routed"}, {"target": "projection"}], ids=str)
def test_the_filing_of_the_index_teaches_steering_without_pairs(toy_dataset: SteeringDataset, changes: dict[str, str]):
    loss = {"steering": 1.0, "steering_sources": 64}
    # Descriptions of other categories than those the sources are filed under, so that there is something to learn.
    misleading = replace(toy_dataset, category_vectors=np.roll(toy_dataset.category_vectors, 1, axis=0))
    history = TrainingRun(config(**changes, loss=loss), misleading).fit().history
    assert history[-1].training["steering/loss"] < 0.1 * history[1].training["steering/loss"]
    result = TrainingRun(config(**changes, loss=loss), toy_dataset).fit()
    assert history[-1].training["steering/accuracy"] > 0.6
    assert result.history[-1].training["steering/accuracy"] > 0.6
    assert category_mrr(result, result.best_epoch) > 0.4


def test_training_stops_when_validation_no_longer_improves(toy_dataset: SteeringDataset):
    training = TRAINING | {"epochs": 50, "patience": 2, "learning_rate": 1e-9}
    result = TrainingRun(config(training=training), toy_dataset).fit()
    assert result.finished
    assert len(result.history) - 1 == result.best_epoch + 2 < 50


def test_a_model_that_only_got_worse_is_the_untrained_one(toy_dataset: SteeringDataset):
    loss = {"info_nce": 0, "regression": 0, "centroid": 0, "vicreg": 1.0}
    opposite = replace(toy_dataset, questions=toy_dataset.sources)  # the untrained prediction is already right
    trainer = TrainingRun(config(loss=loss, training=TRAINING | {"learning_rate": 0.5, "patience": 2}), opposite)
    assert trainer.fit().best_epoch == 0
    questions = torch.from_numpy(np.array(opposite.questions[:5]))
    nothing = torch.zeros(5, dtype=torch.bool)
    torch.testing.assert_close(trainer.model.predict(questions, torch.zeros_like(questions), nothing), questions)


@pytest.mark.parametrize("changes", [{}, {"model": "routed"}, {"target": "projection"}], ids=str)
def test_a_model_survives_its_folder(tmp_path: Path, toy_dataset: SteeringDataset, changes: dict[str, str]):
    trainer = TrainingRun(config(**changes, training=TRAINING | {"epochs": 1}), toy_dataset, folder=tmp_path)
    result = trainer.fit()
    opened = JEPAModel.from_pretrained(tmp_path / "model")
    questions = torch.from_numpy(np.array(toy_dataset.questions[:9]))
    steering = torch.from_numpy(np.array(toy_dataset.category_vectors[toy_dataset.source_category[:9]]))
    has_steering = torch.arange(9) % 2 == 0
    sources = torch.from_numpy(np.array(toy_dataset.sources))
    assert torch.equal(
        opened.predict(questions, steering, has_steering), trainer.model.predict(questions, steering, has_steering)
    )
    category = torch.from_numpy(np.array(toy_dataset.source_category))
    assert torch.equal(opened.embed_index(sources, category), trainer.model.embed_index(sources, category))
    assert (opened.names, opened.encoder, opened.config) == (toy_dataset.names, "toy", trainer.model.config)
    assert read_history(tmp_path / "history.jsonl") == list(result.history)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + len(result.history)


def test_a_damaged_model_is_refused(tmp_path: Path, toy_dataset: SteeringDataset):
    trainer = TrainingRun(config(training=TRAINING | {"epochs": 1}), toy_dataset)
    trainer.fit()
    trainer.model.save_pretrained(tmp_path)
    tensors, card = tmp_path / "model.safetensors", tmp_path / "model.json"
    whole, text = tensors.read_bytes(), card.read_text()
    tensors.write_bytes(whole[:1000])
    with pytest.raises(ModelError, match="damaged"):
        JEPAModel.from_pretrained(tmp_path)
    tensors.write_bytes(whole)
    card.write_text(text.replace('"hidden_dimension": 16', '"hidden_dimension": 8'))
    with pytest.raises(ModelError, match="does not fit"):
        JEPAModel.from_pretrained(tmp_path)
    card.write_text(text.replace('"hidden_dimension"', '"hidden"'))
    with pytest.raises(ModelError, match=r"config\.predictor\.hidden"):
        JEPAModel.from_pretrained(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(toy_dataset: SteeringDataset):
    changes = {"training": TRAINING | {"learning_rate": 1e30, "warmup_epochs": 0, "epochs": 5}}
    with pytest.raises(FloatingPointError, match="learning_rate"):
        TrainingRun(config(**changes), toy_dataset).fit()


def test_what_does_not_fit_is_refused(toy_dataset: SteeringDataset):
    with pytest.raises(ValueError, match="have 16"):
        TrainingRun(JEPAConfig.model_validate({"loss": {"negatives": "batch"}}), toy_dataset)
    with pytest.raises(ValueError, match="one per pair"):
        TrainingRun(config(), toy_dataset, negatives=np.zeros((3, 2), dtype=np.int64))
    rows = int((toy_dataset.pair_split == 0).sum())
    with pytest.raises(ValueError, match="source ids from 0 to 159"):
        TrainingRun(config(), toy_dataset, negatives=np.full((rows, 2), 160))
    right = toy_dataset.pairs[toy_dataset.pair_split == 0, 1:]
    with pytest.raises(ValueError, match=f"{rows} mined negatives answer their own question"):
        TrainingRun(config(), toy_dataset, negatives=right)
    loss = {"info_nce": 0, "regression": 0}
    with pytest.raises(ValueError, match="weight 0"):
        TrainingRun(config(loss=loss), toy_dataset).fit()


@pytest.mark.parametrize("shared", ["per_row", "shared"])
def test_mined_negatives_are_of_one_row_or_shared_by_the_batch(toy_dataset: SteeringDataset, shared: str):
    loss = {"negatives": "batch", "num_negatives": 4, "mined_negatives": shared}
    run = TrainingRun(config(loss=loss), toy_dataset, negatives=mine_negatives(toy_dataset, 4, seed=0).ids)
    assert category_mrr(run.fit(), run.result.best_epoch) > 0.5


def test_the_scorer_learns_its_maps_and_its_filter(toy_dataset: SteeringDataset):
    run = TrainingRun(config(model="scorer"), toy_dataset)
    result = run.fit()
    best = result.history[result.best_epoch].validation
    assert best["category"] > 0.6
    assert best["unreliable"] > 0.6
    predictor = run.model.predictor
    assert isinstance(predictor, FilterAwareScorer)
    assert float((predictor.log_category_weight.exp() - 0.01).abs()) > 0.001
    assert result.history[1].training["info_nce/accuracy"] < result.history[-1].training["info_nce/accuracy"]


@pytest.mark.parametrize("negatives", ["batch", "corpus"])
def test_the_scorer_learns_with_a_residual_too(toy_dataset: SteeringDataset, negatives: str):
    run = TrainingRun(config(model="scorer", scorer={"residual": "plain"}, loss={"negatives": negatives}), toy_dataset)
    assert category_mrr(run.fit(), run.result.best_epoch) > 0.5


def test_a_batch_maps_only_the_sources_it_needs_to_the_same_loss(toy_dataset: SteeringDataset):
    mined = mine_negatives(toy_dataset, 2, seed=0).ids
    run = TrainingRun(
        config(model="scorer", loss={"negatives": "batch", "num_negatives": 2}), toy_dataset, negatives=mined
    )
    run.fit(stop_after=1)
    predictor, pairs = run._predictor, run._pairs
    assert isinstance(predictor, FilterAwareScorer)
    assert pairs.mined is not None
    whole = predictor.embed_sources(pairs.corpus)
    needed = torch.cat([pairs.source_ids[:5], pairs.mined[:5].flatten()])
    torch.testing.assert_close(run._corpus(pairs.source_ids[:5], pairs.mined[:5])[needed], whole[needed])


def test_in_the_first_stage_regression_is_all_that_is_trained(toy_dataset: SteeringDataset):
    changes = {"loss": {"regression_epochs": 2}, "training": TRAINING | {"epochs": 4}}
    history = TrainingRun(config(**changes), toy_dataset).fit().history
    assert [set(record.gradient_norm) for record in history[1:]] == [{"regression"}] * 2 + [{"info_nce"}] * 2
    assert history[2].training["regression/loss"] < history[1].training["regression/loss"]


def test_sigreg_is_a_term_like_others(toy_dataset: SteeringDataset):
    result = TrainingRun(config(loss={"sigreg": 0.05, "sigreg_directions": 8}), toy_dataset).fit()
    assert result.history[1].gradient_norm["sigreg"] > 0
    assert category_mrr(result, result.best_epoch) > 0.5


def test_half_precision_learns_too(toy_dataset: SteeringDataset):
    run = TrainingRun(config(training=TRAINING | {"precision": "bfloat16"}), toy_dataset)
    assert category_mrr(run.fit(), run.result.best_epoch) > 0.5
    assert {parameter.dtype for parameter in run.model.predictor.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_a_device_that_is_not_there_is_refused(toy_dataset: SteeringDataset):
    with pytest.raises(ValueError, match="finds no such device"):
        TrainingRun(config(training=TRAINING | {"device": "cuda"}), toy_dataset)


@pytest.mark.parametrize(("split", "told"), [(0, "no validation pairs"), (1, "no training pairs")])
def test_a_data_set_without_a_needed_split_is_refused(toy_dataset: SteeringDataset, split: int, told: str):
    dataset = replace(toy_dataset, pair_split=np.full_like(toy_dataset.pair_split, split))
    with pytest.raises(ValueError, match=told):
        TrainingRun(config(), dataset)


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth():
    training = JEPATrainingConfig(epochs=10, warmup_epochs=2, learning_rate=1.0)
    rates = [learning_rate_at(step, 5, training) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate_at(50, 5, training) == pytest.approx(0.01)
