from __future__ import annotations

import math

import pytest
import torch

from sightline.tamiyo_policy.ppo.losses import explained_variance, policy_term, weighted_mean


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    old, new = (torch.randn(4, 6, 3, generator=generator) for _ in range(2))
    return (
        new * 0.4,
        old * 0.4,
        torch.randn(4, 6, generator=generator),
        (torch.rand(4, 6, 3, generator=generator) < 0.6).float(),
    )


def test_the_surrogate_equals_a_loop_over_heads_and_steps() -> None:
    new, old, advantages, weights = random_case(0)
    expected = 0.0
    for head in range(3):
        gains = []
        for row in range(4):
            for step in range(6):
                if weights[row, step, head]:
                    ratio = math.exp(float(new[row, step, head] - old[row, step, head]))
                    advantage = float(advantages[row, step])
                    gains.append(min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage))
        expected -= sum(gains) / len(gains)
    term = policy_term(new, old, advantages, weights, weights.sum((0, 1)), 0.2)
    assert float(term.loss) == pytest.approx(expected, rel=1e-5)


def test_the_mean_over_minibatches_is_the_loss_of_the_whole() -> None:
    new, old, advantages, weights = random_case(1)
    divisors = weights.sum((0, 1))
    whole = policy_term(new, old, advantages, weights, divisors, 0.2).loss
    halves = [
        policy_term(new[rows], old[rows], advantages[rows], weights[rows], divisors / 2, 0.2).loss
        for rows in (slice(0, 2), slice(2, 4))
    ]
    assert float(sum(halves) / 2) == pytest.approx(float(whole), rel=1e-5)


def test_irrelevant_heads_get_no_gradient() -> None:
    new, old, advantages, weights = random_case(2)
    new.requires_grad_()
    policy_term(new, old, advantages, weights, weights.sum((0, 1)), 10.0).loss.backward()
    assert new.grad is not None
    assert bool((new.grad[weights == 0] == 0).all())
    assert bool((new.grad[weights == 1] != 0).all())


def test_a_ratio_beyond_the_range_gets_no_gradient_in_the_direction_of_its_advantage() -> None:
    new = torch.tensor([[[0.5]], [[0.5]]], requires_grad=True)
    ones = torch.ones(2, 1, 1)
    advantages = torch.tensor([[1.0], [-1.0]])
    policy_term(new, torch.zeros(2, 1, 1), advantages, ones, torch.tensor([2.0]), 0.2).loss.backward()
    assert new.grad is not None
    assert float(new.grad[0]) == 0.0
    assert float(new.grad[1]) == pytest.approx(math.exp(0.5) / 2)


def test_the_joint_ratio_is_the_product_over_relevant_heads() -> None:
    old = torch.zeros(1, 1, 3)
    new = torch.tensor([[[0.1, 0.2, 0.4]]])
    weights = torch.tensor([[[1.0, 0.0, 1.0]]])
    term = policy_term(new, old, torch.ones(1, 1), weights, weights.sum((0, 1)), 0.9, joint=True)
    assert float(term.largest_ratio) == pytest.approx(math.exp(0.5))
    assert float(term.loss) == pytest.approx(-math.exp(0.5))


@pytest.mark.parametrize("joint", [False, True])
def test_the_divergence_is_that_of_an_action_averaged_over_the_steps_at_which_there_was_a_choice(joint: bool) -> None:
    new, old, advantages, weights = random_case(5)
    weights[..., 0] = (torch.arange(24).reshape(4, 6) % 3 != 0).float()
    weights *= weights[..., :1]  # the first head matters wherever another does, as an operation's
    total, steps = 0.0, 0
    for row in range(4):
        for step in range(6):
            changes = [
                float(new[row, step, head] - old[row, step, head]) for head in range(3) if weights[row, step, head]
            ]
            steps += bool(changes)
            for change in [sum(changes)] if joint else changes:
                total += math.exp(change) - 1 - change
    term = policy_term(new, old, advantages, weights, weights.sum((0, 1)), 0.2, joint=joint)
    assert steps == 16
    assert float(term.divergence) == pytest.approx(total / steps, rel=1e-4)


def test_the_clip_fraction_counts_the_relevant_steps_of_each_head() -> None:
    old = torch.zeros(1, 4, 2)
    new = torch.tensor([[[0.5, 0.5], [-0.5, 0.1], [0.1, -0.5], [0.1, 0.5]]])
    weights = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
    term = policy_term(new, old, torch.ones(1, 4), weights, weights.sum((0, 1)), 0.2)
    assert term.clip_fraction.tolist() == [0.5, 0.5]
    assert float(term.largest_ratio) == pytest.approx(math.exp(0.5))


def test_a_ratio_without_bound_stays_finite() -> None:
    far = torch.full((1, 1, 1), 300.0)
    ones = torch.ones(1, 1, 1)
    term = policy_term(far, torch.zeros(1, 1, 1), torch.ones(1, 1), ones, torch.tensor([1.0]), 0.2)
    assert float(term.largest_ratio) == pytest.approx(math.exp(20.0))


def test_an_unchanged_policy_has_no_divergence() -> None:
    new, _, advantages, weights = random_case(3)
    term = policy_term(new, new, advantages, weights, weights.sum((0, 1)), 0.2)
    assert float(term.divergence) == 0.0
    assert float(term.largest_ratio) == 1.0
    assert term.clip_fraction.tolist() == [0.0, 0.0, 0.0]


def test_a_head_that_never_mattered_adds_nothing() -> None:
    new, old, advantages, weights = random_case(4)
    weights[..., 1] = 0
    without = [0, 2]
    whole = policy_term(new, old, advantages, weights, weights.sum((0, 1)), 0.2).loss
    rest = policy_term(
        new[..., without], old[..., without], advantages, weights[..., without], weights.sum((0, 1))[without], 0.2
    ).loss
    assert float(whole) == pytest.approx(float(rest))


def test_a_weighted_mean_divides_by_what_it_is_told() -> None:
    assert float(weighted_mean(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 0.5]), torch.tensor(8.0))) == 0.5


@pytest.mark.parametrize(
    ("predictions", "expected"), [([1.0, 2.0, 3.0], 1.0), ([2.0, 2.0, 2.0], 0.0), ([3.0, 2.0, 1.0], -3.0)]
)
def test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant(
    predictions: list[float], expected: float
) -> None:
    found = explained_variance(torch.tensor(predictions), torch.tensor([1.0, 2.0, 3.0]))
    assert float(found) == pytest.approx(expected)


def test_targets_without_spread_explain_nothing() -> None:
    assert float(explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 5.0]))) == 0.0
