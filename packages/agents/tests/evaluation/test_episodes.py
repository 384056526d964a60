from __future__ import annotations

from fractions import Fraction

import pytest

from sightline.agents.evaluation.episodes import MEASURES, by_goal, exact_mean, measured
from sightline.agents.trajectory import Step, Trajectory


def episode(
    goal: int, reward: float, tokens: int = 10, *, error: str | None = None, task: str = "a lamp"
) -> Trajectory:
    step = Step(
        observation="page",
        available_actions=("click[a]",),
        action="click[a]",
        reward=reward,
        prompt_tokens=tokens,
        completion_tokens=2,
    )
    return Trajectory(
        episode_id=f"{goal}",
        goal=goal,
        agent="any",
        seed=0,
        instruction=task,
        steps=(step,),
        final_observation="",
        total_reward=reward,
        terminated=error is None,
        truncated=False,
        error=error,
    )


def test_goals_hold_their_episodes_by_training_seed_without_those_that_broke_off() -> None:
    one, other, again = episode(7, 1.0), episode(7, 0.0), episode(7, 0.5)
    broken, second = episode(8, 1.0, error="gone"), episode(8, 1.0)
    goals = by_goal([[one, broken], [other, again], [second]])
    assert list(goals) == [7, 8]
    assert [list(map(id, of_seed)) for of_seed in goals[7]] == [[id(one)], [id(other), id(again)], []]
    assert [len(of_seed) for of_seed in goals[8]] == [0, 0, 1]
    assert by_goal([[broken]]) == {}


def test_episodes_that_are_not_given_by_training_seed_are_refused() -> None:
    with pytest.raises(TypeError, match=r"give \[episodes\], or one sequence for each training seed"):
        by_goal([episode(0, 1.0)])  # ty: ignore[invalid-argument-type] - what the test is about


def test_a_cell_is_the_mean_of_one_goal_and_training_seed() -> None:
    goals = by_goal([[episode(0, 1.0, 10), episode(0, 0.0, 20), episode(1, 1.0, 5)], [episode(0, 0.0, 60)]])
    cells = measured(goals.values(), MEASURES["prompt_tokens"])
    assert cells.values.tolist() == [[15, 60], [5, 0]]
    assert cells.weights.tolist() == [[2, 1], [1, 0]]
    assert cells.unit_means.tolist() == [30, 5]
    assert exact_mean(goals[0], MEASURES["success_rate"]) == Fraction(1, 3)


def test_every_measure_is_of_the_whole_episode() -> None:
    first = episode(0, 0.25, 10)
    twice = first.model_copy(update={"steps": first.steps * 2, "total_reward": 0.5})
    assert {name: measure(twice) for name, measure in MEASURES.items()} == {
        "success_rate": 0,
        "mean_reward": 0.5,
        "steps": 2,
        "prompt_tokens": 20,
        "completion_tokens": 4,
    }
