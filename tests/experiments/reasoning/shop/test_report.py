from __future__ import annotations

import numpy as np
import pytest

from experiments.reasoning.shop.findings import Choice, Line, lines
from experiments.reasoning.shop.learning import LearntRewards
from experiments.reasoning.shop.report import lowest_honest, warning
from experiments.reasoning.shop.trials import Method, Trial

GOALS = 200
CHOICE = Choice(pessimism=0.0, margin=0.0, simulations=16, success=0.8, greedy=0.6)
NAIVE = LearntRewards(name="naive", goals=60, purchases=3000, correlation=0.9, fresh_correlation=0.5)


def trials(method: Method, simulations: int, met: int) -> list[Trial]:
    """Trials of a method that meets so many goals, the actor alone the first 120 of them."""
    return [
        Trial(
            method=method,
            simulations=simulations,
            pessimism=0.0,
            goal=goal,
            value=1.0,
            own_value=0.5,
            reward=float(goal < met),
            own_reward=float(goal < 120),
            steps=10,
            executed=4,
            judged=5,
            seconds=0.01,
        )
        for goal in range(GOALS)
    ]


def found(method: Method, met: dict[int, int]) -> list[Line]:
    """Lines of one method by budget."""
    tried = [trial for budget, number in met.items() for trial in trials(method, budget, number)]
    return [line for line in lines(tried, CHOICE, 0) if line.method == method]


@pytest.mark.parametrize(
    ("met", "verdict"), [(80, "A warning: much search"), (118, "Much search"), (160, "Much search")]
)
def test_a_warning_is_given_only_where_more_search_is_told_to_be_worse(met: int, verdict: str) -> None:
    said = warning(found("naive", {1: 120, 256: met}), NAIVE)
    assert said.startswith(verdict)
    assert ("cannot be told apart from" in said) == (met == 118)


def test_the_worst_budget_of_honest_search_is_named_with_its_difference() -> None:
    said = lowest_honest(found("honest", {1: 120, 16: 118, 64: 160}))
    assert "worst at 16 simulations, where it cannot be told apart from the actor alone: -1.0 [" in said


def test_differences_are_paired_on_the_same_goals() -> None:
    (line,) = found("honest", {64: 150})
    assert line.difference is not None
    assert np.isclose(line.difference.value, 0.15)
    assert line.p_value == pytest.approx(2 * 0.5**30)
