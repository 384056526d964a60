from __future__ import annotations

import pickle
from itertools import accumulate

import pytest

from sightline.webshop_env import Catalogue, build_goals
from sightline.webshop_env.goals.goals import GoalKind
from sightline.webshop_env.goals.lists import GoalList, HeldGoals


@pytest.mark.parametrize("kind", ["human", "synthetic"])
def test_goals_made_on_demand_and_goals_in_memory_answer_alike(kind: GoalKind) -> None:
    made = build_goals(Catalogue.generate(30), kind, 1).goals
    held = HeldGoals(made)
    both: list[GoalList] = [made, held]
    assert made == held
    assert held == made
    assert made == list(held)
    assert made != "goals"
    for goals in both:
        assert len(goals) == len(held)
        assert goals[3] == held[3]
        assert goals[-1] == held[len(held) - 1]
        assert goals[2:9:3] == [held[2], held[5], held[8]]
        assert list(goals.weights) == [goal.weight for goal in held]
        assert list(goals.cumulative_weights) == list(accumulate(goal.weight for goal in held))
        assert goals.take([5, 1]) == [held[5], held[1]]
        assert pickle.loads(pickle.dumps(goals)) == held  # noqa: S301  (our own bytes)
        with pytest.raises(IndexError):
            goals[len(held)]
