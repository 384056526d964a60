from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.jepa.config import JEPAConfig, PredictorConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.prediction import index_for, plain_predictions, routed_predictions, with_random_router
from sightline.jepa.models.model import JEPAModel, make_predictor
from sightline.jepa.models.projection import SharedProjection


def untrained(dataset: SteeringDataset, kind: str, *, projected: bool = False) -> JEPAModel:
    config = JEPAConfig.model_validate(
        {"model": kind, "predictor": PredictorConfig(dimension=dataset.sources.shape[1], hidden_dimension=8)}
    )
    torch.manual_seed(0)
    predictor = make_predictor(
        config, torch.from_numpy(dataset.centroids.copy()), torch.from_numpy(dataset.category_vectors.copy())
    )
    projection = None
    if projected:
        projection = SharedProjection(dataset.sources.shape[1])
        for parameter in projection.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return JEPAModel(config, predictor, encoder="toy", names=dataset.names, projection=projection)


def inputs(dataset: SteeringDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = len(dataset.questions)
    return dataset.questions, dataset.category_vectors[dataset.source_category], np.arange(count) % 3 > 0


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("kind", ["plain", "routed"])
def test_the_function_predicts_what_the_model_predicts(toy_dataset: SteeringDataset, kind: str, projected: bool):
    model = untrained(toy_dataset, kind, projected=projected)
    question, steering, has_steering = inputs(toy_dataset)
    predict = routed_predictions(model) if kind == "routed" else plain_predictions(model, toy_dataset.centroids)
    expected = model.predict(*map(torch.from_numpy, (question, steering, has_steering)), steering_strength=1.5).numpy()
    parts = predict(question, steering, has_steering, steering_strength=1.5)
    assert np.allclose(parts.vectors, expected, atol=1e-6)
    assert np.allclose(parts.routing.sum(axis=1), 1, atol=1e-5)
    whole = parts.coarse + parts.fine
    dimension = question.shape[1]
    assert np.allclose(whole / np.linalg.norm(whole, axis=1, keepdims=True), parts.vectors[:, :dimension], atol=1e-5)
    assert parts.vectors.shape[1] == dimension + (len(toy_dataset.names) if kind == "routed" else 0)


@pytest.mark.parametrize("kind", ["plain", "routed"])
def test_a_model_searches_the_index_made_for_it(toy_dataset: SteeringDataset, kind: str):
    model = untrained(toy_dataset, kind)
    index = index_for(model, toy_dataset)
    predict = routed_predictions(model) if kind == "routed" else plain_predictions(model, toy_dataset.centroids)
    scores = predict(*inputs(toy_dataset)).vectors @ index.sources.T
    question, steering, has_steering = map(torch.from_numpy, inputs(toy_dataset))
    cosines = model.predict(question, steering, has_steering)[:, :16].numpy() @ toy_dataset.sources.T
    assert scores.shape == (160, 160)
    assert np.allclose(scores, cosines, atol=1e-5) == (kind == "plain")


def test_an_overridden_routing_is_the_one_used(toy_dataset: SteeringDataset):
    question, steering, has_steering = inputs(toy_dataset)
    routing = np.tile(np.array([0, 1, 0, 0], dtype=np.float32), (len(question), 1))
    parts = routed_predictions(untrained(toy_dataset, "routed"))(question, steering, has_steering, routing=routing)
    assert np.allclose(parts.coarse, toy_dataset.centroids[1], atol=1e-6)
    assert np.array_equal(parts.routing, routing)


def test_a_plain_model_has_no_routing_to_override(toy_dataset: SteeringDataset):
    predict = plain_predictions(untrained(toy_dataset, "plain"), toy_dataset.centroids)
    with pytest.raises(ValueError, match="cannot be overridden"):
        predict(*inputs(toy_dataset), routing=np.full((160, 4), 0.25, dtype=np.float32))


def test_a_scorers_routing_says_where_its_results_are(toy_dataset: SteeringDataset):
    model = untrained(toy_dataset, "scorer")
    parts = plain_predictions(model, toy_dataset.centroids)(*inputs(toy_dataset))
    dimension = toy_dataset.sources.shape[1]
    assert parts.vectors.shape == (160, dimension + 4)
    np.testing.assert_allclose(parts.coarse + parts.fine, parts.vectors[:, :dimension], atol=1e-6)
    found = (parts.vectors @ index_for(model, toy_dataset).sources.T).argmax(axis=1)
    agrees = toy_dataset.source_category[found] == parts.routing.argmax(axis=1)
    assert agrees.mean() > 0.5  # four categories: chance is a quarter


def test_a_model_in_training_is_explained_without_noise_and_left_in_training(toy_dataset: SteeringDataset):
    model = untrained(toy_dataset, "routed")
    model.predictor.train()
    predict = routed_predictions(model)
    first, second = (predict(*inputs(toy_dataset)) for _ in range(2))
    assert np.array_equal(first.routing, second.routing)
    assert model.predictor.training


def test_a_random_router_leaves_the_rest_and_the_original_untouched(toy_dataset: SteeringDataset):
    model = untrained(toy_dataset, "routed")
    before = {name: value.clone() for name, value in model.predictor.state_dict().items()}
    control = with_random_router(model, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in model.predictor.state_dict().items())
    changed = {name for name, value in control.predictor.state_dict().items() if not torch.equal(value, before[name])}
    assert changed <= {"router.question_map.weight", "router.steering_map.weight", "router.bias"}
    assert len(changed) >= 2
    routing = [routed_predictions(each)(*inputs(toy_dataset)).routing for each in (model, control)]
    assert np.mean(routing[0].argmax(axis=1) == routing[1].argmax(axis=1)) < 0.6


@pytest.mark.parametrize("action", [routed_predictions, lambda model: with_random_router(model, seed=0)])
def test_a_plain_model_is_refused_where_a_router_is_needed(toy_dataset: SteeringDataset, action):
    with pytest.raises(TypeError, match=r"routes nothing|no router"):
        action(untrained(toy_dataset, "plain"))
