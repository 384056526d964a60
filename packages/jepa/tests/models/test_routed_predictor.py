from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from sightline.jepa.config import PredictorConfig, RouterConfig
from sightline.jepa.losses.routing import (
    disentanglement_loss,
    load_balance_loss,
    residual_penalty,
    routing_confidence_loss,
    routing_loss,
)
from sightline.jepa.models.routed_predictor import RoutedPredictor, bounded, extended

DIMENSION, SUBSPACES, COUNT = 12, 5, 30


def unit(rows: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, DIMENSION, generator=torch.Generator().manual_seed(seed)), dim=1)


CENTROIDS, DESCRIPTIONS = unit(SUBSPACES, 0), unit(SUBSPACES, 1)
CATEGORY = torch.arange(COUNT) % SUBSPACES
QUESTION = normalize(CENTROIDS[CATEGORY] + unit(COUNT, 2), dim=1)
STEERING = DESCRIPTIONS[CATEGORY]
YES, NO = torch.ones(COUNT, dtype=torch.bool), torch.zeros(COUNT, dtype=torch.bool)
CONFIG = PredictorConfig(dimension=DIMENSION, hidden_dimension=16)


def make(**router: float) -> RoutedPredictor:
    return RoutedPredictor(CONFIG, RouterConfig(**router), CENTROIDS, DESCRIPTIONS)


@pytest.fixture
def trained() -> RoutedPredictor:
    model = make()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def test_the_prediction_is_the_direction_of_coarse_plus_fine(trained: RoutedPredictor):
    parts = trained.decompose(QUESTION, STEERING, YES)
    torch.testing.assert_close(parts.unnormalised, parts.coarse + parts.fine)
    torch.testing.assert_close(parts.prediction, normalize(parts.coarse + parts.fine, dim=1))
    torch.testing.assert_close(parts.prediction.norm(dim=1), torch.ones(COUNT))


def test_coarse_is_a_mixture_of_exact_centroids(trained: RoutedPredictor):
    parts = trained.decompose(QUESTION, STEERING, YES)
    assert torch.equal(trained.router.centroids, CENTROIDS)
    torch.testing.assert_close(parts.coarse, parts.routing_weights @ CENTROIDS)


def test_untrained_it_is_the_rocchio_average_plus_a_share_of_the_routed_centroids():
    model = make(coarse_share=0.3)
    parts = model.decompose(QUESTION, STEERING, YES)
    expected = QUESTION + CONFIG.steering_weight * STEERING + 0.3 * parts.coarse
    torch.testing.assert_close(parts.prediction, normalize(expected, dim=1))


def test_the_fine_part_is_bounded_by_the_radius():
    parts = make(fine_radius=0.5, coarse_share=0.1).decompose(QUESTION, STEERING, YES)
    torch.testing.assert_close(parts.fine.norm(dim=1), torch.full((COUNT,), 0.5))


def test_atypicality_is_the_length_of_the_fine_part(trained: RoutedPredictor):
    parts = trained.decompose(QUESTION, STEERING, NO)
    torch.testing.assert_close(parts.atypicality, parts.fine.norm(dim=1))


def test_shortening_leaves_short_rows_alone_and_keeps_directions():
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(bounded(rows, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_forcing_a_subspace_makes_its_centroid_the_coarse_part(trained: RoutedPredictor):
    force = torch.full((COUNT,), 2)
    parts = trained.decompose(QUESTION, STEERING, YES, force=force)
    torch.testing.assert_close(parts.coarse, CENTROIDS[2].expand(COUNT, -1))
    free = trained.decompose(QUESTION, STEERING, YES)
    assert torch.equal(parts.routing_logits, free.routing_logits)


def test_forcing_moves_the_prediction_towards_the_forced_centroid(trained: RoutedPredictor):
    for subspace in range(SUBSPACES):
        others = subspace != CATEGORY
        free = trained.decompose(QUESTION, STEERING, YES).prediction @ CENTROIDS[subspace]
        forced = trained.decompose(QUESTION, STEERING, YES, force=torch.full((COUNT,), subspace)).prediction
        assert ((forced @ CENTROIDS[subspace]) > free)[others].float().mean() > 0.95


def test_a_source_scores_its_cosine_and_the_weighted_log_of_its_subspaces_share(trained: RoutedPredictor):
    sources, category = unit(7, 9), torch.arange(7) % SUBSPACES
    parts = trained.decompose(QUESTION, STEERING, YES)
    scores = parts.query @ extended(sources, category, SUBSPACES).T
    for row in range(COUNT):
        for column in range(7):
            share = 0.99 * float(parts.routing_weights[row, category[column]]) + 0.01 / SUBSPACES
            expected = float(parts.prediction[row] @ sources[column]) + float(trained.prior_weight.detach()) * math.log(
                share
            )
            assert float(scores[row, column]) == pytest.approx(expected, abs=1e-5)


def test_forcing_a_subspace_favours_its_sources_but_rules_none_out():
    prior = make(prior_weight=0.1).decompose(QUESTION, STEERING, YES, force=torch.full((COUNT,), 2)).prior
    assert (prior.argmax(dim=1) == 2).all()
    assert prior.isfinite().all()


def test_the_prior_has_no_noise_in_training():
    model = make(question_scale=1.0, steering_scale=1.0).train()
    parts = model(QUESTION, STEERING, YES)
    torch.testing.assert_close(parts.prior, model.decompose(QUESTION, STEERING, YES).prior)
    assert (parts.routing_weights - parts.routing_logits.softmax(dim=1)).abs().max() > 1e-2


def test_given_weights_replace_the_routers(trained: RoutedPredictor):
    weights = torch.full((COUNT, SUBSPACES), 1 / SUBSPACES)
    parts = trained.decompose(QUESTION, STEERING, YES, routing_weights=weights)
    assert torch.equal(parts.routing_weights, weights)
    one_hot = torch.nn.functional.one_hot(CATEGORY, SUBSPACES).float()
    torch.testing.assert_close(
        trained.decompose(QUESTION, STEERING, YES, routing_weights=one_hot).prediction,
        trained.decompose(QUESTION, STEERING, YES, force=CATEGORY).prediction,
    )


def test_obedience_zero_is_the_prediction_without_steering(trained: RoutedPredictor):
    without = trained.decompose(QUESTION, STEERING, NO)
    ignoring = trained.decompose(QUESTION, STEERING, YES, steering_strength=0.0)
    torch.testing.assert_close(ignoring.routing_weights, without.routing_weights)
    torch.testing.assert_close(ignoring.prediction, without.prediction)


def test_steering_beyond_its_own_strength_leaves_the_weight_of_the_coarse_part_alone(trained: RoutedPredictor):
    trained.fine_radius = 1e6  # nothing is shortened
    torch.nn.init.constant_(trained.gate.weight, 0.5)
    gates = []
    for steering_strength in (0.5, 1.0, 3.0):
        parts = trained.decompose(QUESTION, STEERING, YES, steering_strength, force=CATEGORY)
        gates.append(trained.residual(QUESTION, STEERING, YES, steering_strength) / parts.fine)
    torch.testing.assert_close(gates[2], gates[1])
    assert (gates[0] - gates[1]).abs().max() > 1e-3


def test_every_routing_loss_reaches_the_router():
    losses = {
        "routing": lambda parts: routing_loss(parts.routing_logits, (CATEGORY + 1) % SUBSPACES),
        "load_balance": lambda parts: load_balance_loss(parts.routing_weights),
        "confidence": lambda parts: routing_confidence_loss(parts.routing_weights),
        "residual": lambda parts: residual_penalty(parts.fine, 0.0),
        "disentanglement": lambda parts: disentanglement_loss(parts.routing_weights),
    }
    for name, loss in losses.items():
        model = make(fine_radius=50.0)
        if name == "residual":  # through the gate, once it looks at the weights
            torch.nn.init.constant_(model.gate.weight, 0.3)
        loss(model(QUESTION, STEERING, YES))["loss"].backward()
        gradient = model.router.question_map.weight.grad
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name


def test_the_prediction_trains_router_gate_and_residual():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = CENTROIDS[(CATEGORY + 1) % SUBSPACES]
    for _ in range(2):
        optimizer.zero_grad()
        sources = extended(target, (CATEGORY + 1) % SUBSPACES, SUBSPACES)
        (1 - (model(QUESTION, STEERING, CATEGORY > 1).query * sources).sum(dim=1)).mean().backward()
        optimizer.step()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_predict_and_route_are_deterministic_parts_of_the_decomposition_even_in_training_mode():
    model = make().train()
    parts = model.decompose(QUESTION, STEERING, YES)
    assert torch.equal(model.predict(QUESTION, STEERING, YES), parts.query)
    torch.testing.assert_close(model.route(QUESTION, STEERING, YES), parts.routing_weights)
    assert model.training
    assert not parts.prediction.requires_grad


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"force": torch.full((COUNT,), SUBSPACES)}, "0 to 4"),
        ({"force": torch.full((COUNT,), -1)}, "0 to 4"),
        ({"force": torch.zeros(COUNT)}, "int64"),
        ({"force": torch.zeros(3, dtype=torch.int64)}, r"\[3\]"),
        ({"routing_weights": torch.ones(COUNT, 2)}, r"\[30, 2\]"),
        ({"force": CATEGORY, "routing_weights": torch.ones(COUNT, SUBSPACES)}, "not both"),
    ],
)
def test_an_impossible_intervention_is_refused(options: dict[str, torch.Tensor], told: str):
    force, routing_weights = options.get("force"), options.get("routing_weights")
    with pytest.raises(ValueError, match=told):
        make().decompose(QUESTION, STEERING, YES, force=force, routing_weights=routing_weights)


def test_centroids_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\[K, 12\]"):
        RoutedPredictor(CONFIG, RouterConfig(), torch.ones(3, 7), torch.ones(3, 7))
