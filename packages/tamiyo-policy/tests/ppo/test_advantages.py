from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from sightline.tamiyo_policy.ppo.advantages import discounted_sums, generalised_advantages, normalise_advantages

GAMMA, LAMBDA = 0.9, 0.8


def reference_row(
    rewards: list[float],
    values: list[float],
    terminated: list[bool],
    truncated: list[bool],
    bootstraps: list[float],
) -> list[float]:
    """The definition, sum of (gamma lambda)^l delta_{t+l} to the end of t's episode, for one row of Python numbers."""
    steps = range(len(rewards))
    deltas = []
    for t in steps:
        if terminated[t]:
            following = 0.0
        elif truncated[t] or t == len(rewards) - 1:
            following = bootstraps[t]
        else:
            following = values[t + 1]
        deltas.append(rewards[t] + GAMMA * following - values[t])
    advantages = []
    for t in steps:
        total, factor = 0.0, 1.0
        for later in range(t, len(rewards)):
            total += factor * deltas[later]
            factor *= GAMMA * LAMBDA
            if terminated[later] or truncated[later]:
                break
        advantages.append(total)
    return advantages


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    size = (draw(st.integers(1, 4)), draw(st.integers(1, 9)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rewards, values, bootstraps = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(3))
    terminated, truncated = (torch.rand(size, generator=generator) < 0.25 for _ in range(2))
    return rewards, values, terminated, truncated, bootstraps


@given(rows())
def test_advantages_equal_the_definition_summed_row_by_row(case: tuple[Tensor, ...]) -> None:
    found = generalised_advantages(*case, gamma=GAMMA, gae_lambda=LAMBDA)
    expected = [reference_row(*(field[row].tolist() for field in case)) for row in range(len(found))]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_the_order_of_environments_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values, bootstraps = (torch.randn(5, 7, generator=generator) for _ in range(3))
    terminated = torch.rand(5, 7, generator=generator) < 0.2
    case = (rewards, values, terminated, torch.zeros_like(terminated), bootstraps)
    order = torch.randperm(5, generator=generator)
    found = generalised_advantages(*case, gamma=GAMMA, gae_lambda=LAMBDA)
    permuted = generalised_advantages(*(field[order] for field in case), gamma=GAMMA, gae_lambda=LAMBDA)
    assert torch.equal(found[order], permuted)


def test_without_values_the_advantage_is_the_discounted_return_of_the_episode() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    terminated = torch.tensor([[False, True, False, False]])
    found = discounted_sums(rewards, terminated, torch.zeros_like(terminated), gamma=0.5)
    assert found.tolist() == [[2.0, 2.0, 8.0, 8.0]]


def test_normalised_advantages_have_mean_zero_and_deviation_one_over_learnable_steps() -> None:
    advantages = torch.tensor([[1.0, 3.0, 100.0], [5.0, 7.0, -100.0]])
    learnable = torch.tensor([[True, True, False], [True, True, False]])
    found = normalise_advantages(advantages, learnable)
    assert float(found[learnable].mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(found[learnable].std(correction=0)) == pytest.approx(1.0)


def test_nearly_equal_advantages_are_not_blown_up() -> None:
    found = normalise_advantages(torch.tensor([[0.01, -0.01]]), torch.tensor([[True, True]]))
    assert found.tolist() == [[pytest.approx(0.1), pytest.approx(-0.1)]]


def test_a_rollout_without_any_choice_has_no_advantages() -> None:
    found = normalise_advantages(torch.tensor([[3.0, 4.0]]), torch.tensor([[False, False]]))
    assert found.tolist() == [[0.0, 0.0]]
