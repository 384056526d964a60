from __future__ import annotations

import pytest
from pydantic import ValidationError

from sightline.agents.chat.prices import TokenPrices
from sightline.agents.evaluation.cost import (
    cost_table,
    dollars_per_100_successes,
    pareto_frontier,
    tokens_per_success,
)
from sightline.agents.trajectory import Step, Trajectory


def episode(goal: int, reward: float, prompt: int, completion: int, *, error: str | None = None) -> Trajectory:
    step = Step(
        observation="page",
        available_actions=("click[a]",),
        action="click[a]",
        reward=reward,
        prompt_tokens=prompt,
        completion_tokens=completion,
    )
    return Trajectory(
        episode_id=str(goal),
        goal=goal,
        agent="any",
        seed=0,
        instruction="a lamp",
        steps=(step,),
        final_observation="",
        total_reward=reward,
        terminated=True,
        truncated=False,
        error=error,
    )


HALF = [[episode(0, 1.0, 900, 100), episode(1, 0.0, 2900, 100), episode(2, 0.0, 5, 5, error="gone")]]


def test_failed_episodes_are_paid_for_too_and_broken_ones_are_left_out() -> None:
    value = tokens_per_success(HALF, seed=0)
    assert value is not None
    assert value.value == 4000


def test_dollars_follow_from_prices_per_million_tokens() -> None:
    value = dollars_per_100_successes(HALF, TokenPrices(prompt=2.0, completion=10.0), seed=0)
    assert value is not None
    assert value.value == pytest.approx(100 * (3800 * 2 + 200 * 10) / 1_000_000)


def test_training_seeds_of_one_goal_count_as_one() -> None:
    value = tokens_per_success([*HALF, [episode(1, 1.0, 2900, 100)]], seed=0)
    assert value is not None
    assert value.resampled == "goals and training seeds"
    assert value.value == pytest.approx((1000 + 3000) / (1 + 0.5))


def test_an_agent_that_never_succeeds_has_no_cost_per_success() -> None:
    table = cost_table({"never": [[episode(0, 0.0, 9, 1), episode(1, 0.0, 9, 1)]], "none": []}, seed=0)
    assert table.rows == (("never", "n/a", "n/a"), ("none", "n/a", "n/a"))


def test_the_table_shows_dollars_only_with_prices() -> None:
    alone = cost_table({"a": HALF}, seed=0)
    assert alone.columns == ("agent", "tokens per success", "resampled")
    assert alone.rows[0][1].startswith("4,000 [")
    assert alone.rows[0][2] == "goals"
    table = cost_table({"a": HALF}, seed=0, prices=TokenPrices(prompt=2.0, completion=10.0))
    assert table.columns[-2] == "dollars per 100 successes"
    assert table.rows[0][2].startswith("0.96 [")
    assert "2 and 10 dollars per million tokens read and written" in table.caption


def test_negative_prices_are_refused() -> None:
    with pytest.raises(ValidationError):
        TokenPrices(prompt=-1.0, completion=0.0)


def test_nobody_on_the_frontier_is_beaten_on_both_counts() -> None:
    agents = {"dear": (500.0, 0.6), "cheap": (100.0, 0.3), "beaten": (500.0, 0.5), "twin": (100.0, 0.3)}
    assert pareto_frontier(agents) == ["cheap", "twin", "dear"]
