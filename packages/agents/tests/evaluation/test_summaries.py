from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pytest
from pydantic import ValidationError

from sightline.agents.evaluation.intervals import Interval, wilson_interval
from sightline.agents.evaluation.summaries import AgentSummary, results_csv, results_table, summarise
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


def episodes(rewards: Iterable[float], tokens: int = 10) -> list[list[Trajectory]]:
    """Of an agent with a single training seed."""
    return [[episode(goal, float(reward), tokens + goal % 3) for goal, reward in enumerate(rewards)]]


def interval(value: float, low: float, high: float, resampled: str = "goals") -> Interval:
    return Interval(value, low, high, 0.95, resampled)


def test_a_summary_holds_means_per_episode_with_intervals() -> None:
    (summary,) = summarise({"one": episodes([1, 0.5, 0, 1])}, seed=0)
    assert (summary.agent, summary.goals, summary.episodes, summary.errors) == ("one", 4, 4, 0)
    assert summary.success_rate is not None
    assert summary.success_rate.value == 0.5
    assert summary.success_rate.low < 0.5 < summary.success_rate.high
    assert summary.mean_reward is not None
    assert summary.mean_reward.value == 0.625
    assert summary.steps == interval(1, 1, 1)
    assert summary.prompt_tokens is not None
    assert summary.prompt_tokens.value == pytest.approx((10 + 11 + 12 + 10) / 4)
    assert summary.completion_tokens == interval(2, 2, 2)


def test_episodes_with_an_error_are_counted_and_enter_no_mean() -> None:
    (clean,) = episodes([1, 0, 1])
    (with_error,) = summarise({"one": [[*clean, episode(7, 0.0, error="RuntimeError: gone")]]}, seed=0)
    (without,) = summarise({"one": [clean]}, seed=0)
    assert with_error == without.model_copy(update={"errors": 1})


def test_training_seeds_of_one_goal_are_averaged_and_count_as_one_goal() -> None:
    seeds = [[episode(0, 1.0), episode(1, 1.0)], *([episode(0, 0.0)] for _ in range(3))]
    (summary,) = summarise({"one": seeds}, seed=0)
    assert (summary.goals, summary.episodes) == (2, 5)
    assert summary.success_rate is not None
    assert summary.success_rate.value == pytest.approx((0.25 + 1) / 2)


def test_training_seeds_are_resampled_unless_they_are_held_fixed() -> None:
    weak, strong = episodes([0] * 30 + [1] * 10), episodes([0] * 10 + [1] * 30)
    (resampled,) = summarise({"one": weak + strong}, seed=0)
    (fixed,) = summarise({"one": weak + strong}, seed=0, seeds="fixed")
    assert resampled.success_rate is not None
    assert fixed.success_rate is not None
    assert resampled.success_rate.value == fixed.success_rate.value == 0.5
    assert resampled.success_rate.high - resampled.success_rate.low > 2 * (
        fixed.success_rate.high - fixed.success_rate.low
    )
    assert resampled.success_rate.resampled == "goals and training seeds"
    assert fixed.success_rate.resampled == "goals, training seeds held fixed"


@pytest.mark.parametrize("rate", [0, 1])
def test_a_rate_without_spread_still_has_an_interval(rate: int) -> None:
    (summary,) = summarise({"one": episodes([rate] * 100)}, seed=0)
    assert summary.success_rate == wilson_interval(100 * rate, 100)
    assert results_table([summary]).rows[0][-1] == "nothing (Wilson's formula); goals"


def test_an_agent_whose_episodes_all_failed_has_no_numbers() -> None:
    (summary,) = summarise({"one": [[episode(0, 0.0, error="x")]]}, seed=0)
    assert summary.errors == 1
    assert summary.success_rate is None
    assert results_table([summary]).rows[0] == ("one", "0", "1", *["n/a"] * 6)


def test_a_summary_survives_the_disk() -> None:
    (summary,) = summarise({"one": episodes([1, 0, 1])}, seed=0)
    assert AgentSummary.model_validate_json(summary.model_dump_json()) == summary


def test_unknown_keys_are_refused_in_a_summary_and_in_its_intervals() -> None:
    (summary,) = summarise({"one": episodes([1, 0, 1])}, seed=0)
    for place in ((), ("steps",)):
        record = summary.model_dump(mode="json")
        inner = record
        for key in place:
            inner = inner[key]
        inner["surprise"] = 1
        with pytest.raises(ValidationError, match="surprise"):
            AgentSummary.model_validate(record)


def test_a_summary_is_frozen_and_holds_no_nan() -> None:
    (summary,) = summarise({"one": episodes([1, 0, 1])}, seed=0)
    with pytest.raises(ValidationError, match="frozen"):
        summary.goals = 4  # ty: ignore[invalid-assignment] - what the test is about
    with pytest.raises(ValidationError, match="finite"):
        AgentSummary.model_validate(summary.model_dump() | {"steps": asdict(interval(float("nan"), 0, 0))})


def test_other_agents_do_not_change_an_agents_interval() -> None:
    one, other = episodes(np.random.default_rng(0).random(20)), episodes([0, 1, 0])
    alone = summarise({"one": one}, seed=3)
    assert summarise({"other": other, "one": one}, seed=3)[1:] == alone
    assert summarise({"one": one}, seed=4) != alone


def test_the_table_shows_percent_and_thousands() -> None:
    summary = AgentSummary(
        agent="one",
        goals=200,
        episodes=600,
        errors=1,
        success_rate=interval(0.5, 0.431, 0.569, "goals and training seeds"),
        mean_reward=interval(0.7, 0.65, 0.75, "goals and training seeds"),
        steps=interval(5, 4.5, 5.5, "goals and training seeds"),
        prompt_tokens=interval(12345, 12000, 12700, "goals and training seeds"),
        completion_tokens=None,
    )
    row = (
        "| one | 600 | 1 | 50.0 [43.1, 56.9] | 0.700 [0.650, 0.750] | 5.0 [4.5, 5.5] | 12,345 [12,000, 12,700] | n/a "
        "| goals and training seeds |"
    )
    assert results_table([summary]).markdown().splitlines()[2] == row


def test_csv_holds_every_bound_as_a_number_and_what_was_resampled() -> None:
    summaries = summarise({"a,b": episodes([1, 0, 1]), "none": []}, seed=0)
    rows = list(csv.DictReader(io.StringIO(results_csv(summaries))))
    assert rows[0]["agent"] == "a,b"
    assert summaries[0].success_rate is not None
    assert float(rows[0]["success_rate"]) == summaries[0].success_rate.value
    assert float(rows[0]["success_rate_low"]) == summaries[0].success_rate.low
    assert float(rows[0]["success_rate_high"]) == summaries[0].success_rate.high
    assert rows[0]["success_rate_resampled"] == "goals"
    assert rows[1]["mean_reward_low"] == ""
    assert np.isclose(float(rows[0]["prompt_tokens"]), 11.0)
