from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from sightline.jepa.config import RouterConfig
from sightline.jepa.models.router import SubspaceRouter

DIMENSION, SUBSPACES, COUNT = 10, 4, 40


def unit(rows: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, DIMENSION, generator=torch.Generator().manual_seed(seed)), dim=1)


CENTROIDS, DESCRIPTIONS = unit(SUBSPACES, 0), unit(SUBSPACES, 1)
CATEGORY = torch.arange(COUNT) % SUBSPACES
QUESTION = normalize(CENTROIDS[CATEGORY] + 0.5 * unit(COUNT, 2), dim=1)
STEERING = DESCRIPTIONS[CATEGORY]
YES, NO = torch.ones(COUNT, dtype=torch.bool), torch.zeros(COUNT, dtype=torch.bool)


@pytest.fixture
def router() -> SubspaceRouter:
    return SubspaceRouter(RouterConfig(), CENTROIDS, DESCRIPTIONS).eval()


def test_weights_are_a_distribution_and_the_softmax_of_the_logits(router: SubspaceRouter):
    weights, logits = router(QUESTION, STEERING, YES)
    assert weights.shape == logits.shape == (COUNT, SUBSPACES)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(COUNT))
    torch.testing.assert_close(weights, logits.softmax(dim=1))


def test_untrained_and_unsteered_it_is_the_nearest_centroid(router: SubspaceRouter):
    weights, _ = router(QUESTION, STEERING, NO)
    assert torch.equal(weights.argmax(dim=1), (QUESTION @ CENTROIDS.T).argmax(dim=1))


def test_untrained_its_logits_are_scaled_cosines_with_centroids_and_descriptions():
    router = SubspaceRouter(RouterConfig(question_scale=7.0, steering_scale=3.0), CENTROIDS, DESCRIPTIONS)
    expected = 7.0 * QUESTION @ CENTROIDS.T + 3.0 * STEERING @ DESCRIPTIONS.T
    torch.testing.assert_close(router.logits(QUESTION, STEERING, YES), expected)


def test_untrained_it_follows_a_description_when_the_question_says_nothing(router: SubspaceRouter):
    neutral = normalize(CENTROIDS.sum(dim=0, keepdim=True), dim=1).expand(COUNT, -1)
    weights, _ = router(neutral, STEERING, YES)
    assert torch.equal(weights.argmax(dim=1), CATEGORY)


def test_a_certain_question_outvotes_a_wrong_steering():
    router = SubspaceRouter(RouterConfig(question_scale=40.0, steering_scale=5.0), CENTROIDS, DESCRIPTIONS).eval()
    weights, _ = router(CENTROIDS[CATEGORY], DESCRIPTIONS[(CATEGORY + 1) % SUBSPACES], YES)
    assert torch.equal(weights.argmax(dim=1), CATEGORY)


def test_steering_that_is_not_given_does_not_matter(router: SubspaceRouter):
    assert torch.equal(router(QUESTION, STEERING, NO)[0], router(QUESTION, torch.full_like(STEERING, 5.0), NO)[0])


def test_obedience_scales_what_the_steering_says(router: SubspaceRouter):
    at = [router.logits(QUESTION, STEERING, YES, steering_strength) for steering_strength in (0.0, 1.0, 3.0)]
    torch.testing.assert_close(at[0], router.logits(QUESTION, STEERING, NO))
    torch.testing.assert_close(at[2] - at[0], 3 * (at[1] - at[0]))


def test_outside_training_it_is_deterministic_and_in_training_it_is_noisy(router: SubspaceRouter):
    assert torch.equal(router(QUESTION, STEERING, YES)[0], router(QUESTION, STEERING, YES)[0])
    router.train()
    first, second = (router(QUESTION, STEERING, YES)[0] for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sum(dim=1), torch.ones(COUNT))


def test_gumbel_noise_picks_subspaces_as_often_as_the_softmax_says(router: SubspaceRouter):
    router.train()
    router.temperature = 0.01
    logits = torch.tensor([0.0, 0.5, 1.0, 2.0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        picked = router.weigh(logits.expand(20_000, -1)).argmax(dim=1)
    shares = torch.bincount(picked, minlength=SUBSPACES) / 20_000
    torch.testing.assert_close(shares, logits.softmax(dim=0), atol=0.02, rtol=0)


def test_a_low_temperature_makes_noisy_weights_sharp(router: SubspaceRouter):
    router.train()
    sharpness = []
    for temperature in (5.0, 1.0, 0.1):
        router.temperature = temperature
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            weights, _ = router(QUESTION, STEERING, YES)
            sharpness.append(float(weights.detach().max(dim=1).values.mean()))
    assert sharpness == sorted(sharpness)
    assert sharpness[-1] > 0.95


def test_gradients_reach_every_parameter_through_noisy_weights(router: SubspaceRouter):
    router.train()
    weights, _ = router(QUESTION, STEERING, YES)
    (weights * unit(COUNT, 5)[:, :SUBSPACES]).sum().backward()
    silent = [name for name, p in router.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_centroids_and_descriptions_are_data_and_are_saved(router: SubspaceRouter):
    assert {"centroids", "descriptions"} <= set(router.state_dict())
    assert not {"centroids", "descriptions"} & {name for name, _ in router.named_parameters()}
    assert router.num_subspaces == SUBSPACES


@pytest.mark.parametrize("shapes", [(1, 1), (4, 3)])
def test_centroids_that_do_not_fit_are_refused(shapes: tuple[int, int]):
    with pytest.raises(ValueError, match="K >= 2"):
        SubspaceRouter(RouterConfig(), unit(shapes[0], 0), unit(shapes[1], 1))


def test_the_scales_start_as_configured():
    router = SubspaceRouter(RouterConfig(question_scale=3.0, steering_scale=7.0), CENTROIDS, DESCRIPTIONS)
    assert float(router.log_question_scale.detach()) == pytest.approx(math.log(3))
    assert float(router.log_steering_scale.detach()) == pytest.approx(math.log(7))
