from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.evaluation import Interval, within_margin
from sightline.agents.trajectory import Step, Trajectory


def episode(goal: int, success: bool) -> Trajectory:
    step = Step(
        observation="page", available_actions=("buy",), action="buy", expert_action="buy", reward=float(success)
    )
    return Trajectory(
        episode_id=f"{goal}",
        goal=goal,
        agent="one",
        seed=0,
        instruction=f"task {goal}",
        steps=(step,),
        final_observation="",
        total_reward=float(success),
        terminated=True,
        truncated=False,
    )


def runs(*flags: np.ndarray) -> list[list[Trajectory]]:
    return [[episode(goal, bool(flag)) for goal, flag in enumerate(each)] for each in flags]


RNG = np.random.default_rng(0)
BASE = RNG.random(1000) < 0.6
SAME = np.where(RNG.random(1000) < 0.04, ~BASE, BASE)
"""Another agent that differs by chance on 4 % of the goals."""
WORSE = np.where(RNG.random(1000) < 0.1, False, BASE)
"""One that fails in a tenth of the goals."""


def test_agents_that_differ_by_chance_alone_are_found_to_be_alike() -> None:
    found = within_margin({"one": runs(SAME), "other": runs(BASE)}, "one", "other", margin=0.03, seed=0)
    assert found.equivalence_p < 0.01
    assert found.goals == 1000
    assert isinstance(found.success_rate, Interval)
    assert found.success_rate.low > -0.03


def test_a_loss_excludes_a_gain_and_no_loss() -> None:
    found = within_margin({"one": runs(WORSE), "other": runs(BASE)}, "one", "other", margin=0.03, seed=0)
    assert found.no_gain_p < 1e-6
    assert found.no_loss_p > 0.5
    assert found.equivalence_p == found.no_loss_p


def test_few_goals_show_nothing_even_without_any_difference() -> None:
    few = {"one": runs(BASE[:20]), "other": runs(BASE[:20])}
    assert within_margin(few, "one", "other", margin=0.03, seed=0).equivalence_p > 0.2
    assert within_margin({"one": runs(BASE[:1]), "other": runs(BASE[:1])}, "one", "other", margin=0.03, seed=0) == (
        within_margin({"one": runs(BASE[:1]), "other": runs(BASE[:1])}, "one", "other", margin=0.03, seed=1)
    )


def test_trainings_that_disagree_make_it_less_sure() -> None:
    agreeing = {"one": runs(BASE, BASE, BASE), "other": runs(BASE)}
    lucky = BASE | (RNG.random(1000) < 0.15)
    disagreeing = {"one": runs(lucky, WORSE, BASE), "other": runs(BASE)}
    sure, unsure = (within_margin(each, "one", "other", margin=0.03, seed=0) for each in (agreeing, disagreeing))
    assert sure.equivalence_p < 0.01 < unsure.equivalence_p


def test_a_margin_is_a_share() -> None:
    with pytest.raises(ValueError, match="margin must lie between 0 and 1"):
        within_margin({}, "one", "other", margin=3, seed=0)
