from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import numpy as np
import pytest
from pydantic import ValidationError

from sightline.agents.evaluation.intervals import Interval
from sightline.agents.evaluation.significance import mcnemar_test
from sightline.agents.evaluation.summaries import (
    AgentSummary,
    Comparison,
    compare,
    compare_all,
    comparisons_table,
    outcome,
    results_csv,
    results_table,
    summarise,
    verdict,
)
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


def episodes(rewards: Iterable[float], tokens: int = 10) -> list[Trajectory]:
    return [episode(goal, float(reward), tokens + goal % 3) for goal, reward in enumerate(rewards)]


def comparison(
    success: tuple[float, float, float],
    tokens: tuple[float, float, float],
    goals: int = 200,
    *,
    p: float = 0.01,
    match_p: float = 0.01,
) -> Comparison:
    return Comparison(
        candidate="gated",
        baseline="rag",
        goals=goals,
        unpaired=0,
        wins=1,
        losses=0,
        discordance=0.1,
        success_rate=Interval(*success),
        mean_reward=Interval(*success),
        prompt_tokens=Interval(*tokens),
        p_value=p,
        match_p_value=match_p,
        adjusted_p_value=p,
        adjusted_match_p_value=match_p,
    )


def test_a_summary_holds_means_per_episode_with_intervals() -> None:
    (summary,) = summarise({"one": episodes([1, 0.5, 0, 1])}, seed=0)
    assert (summary.goals, summary.episodes, summary.errors) == (4, 4, 0)
    assert summary.success_rate is not None
    assert summary.success_rate.mean == 0.5
    assert summary.success_rate.low < 0.5 < summary.success_rate.high
    assert summary.mean_reward is not None
    assert summary.mean_reward.mean == 0.625
    assert summary.steps == Interval(1, 1, 1)
    assert summary.prompt_tokens is not None
    assert summary.prompt_tokens.mean == pytest.approx((10 + 11 + 12 + 10) / 4)
    assert summary.completion_tokens == Interval(2, 2, 2)


def test_episodes_with_an_error_are_counted_and_enter_no_mean() -> None:
    clean = episodes([1, 0, 1])
    (with_error,) = summarise({"one": [*clean, episode(7, 0.0, error="RuntimeError: gone")]}, seed=0)
    (without,) = summarise({"one": clean}, seed=0)
    assert with_error == without.model_copy(update={"errors": 1})


def test_seeds_of_one_goal_are_averaged_and_count_as_one_goal() -> None:
    seeds = [episode(0, 1.0), episode(0, 0.0), episode(0, 0.0), episode(0, 0.0), episode(1, 1.0)]
    (summary,) = summarise({"one": seeds}, seed=0)
    assert (summary.goals, summary.episodes) == (2, 5)
    assert summary.success_rate is not None
    assert summary.success_rate.mean == pytest.approx((0.25 + 1) / 2)


def test_a_rate_of_zero_still_has_an_interval() -> None:
    (summary,) = summarise({"one": episodes([0] * 100)}, seed=0)
    assert summary.success_rate is not None
    assert summary.success_rate.low == 0
    assert 0.02 < summary.success_rate.high < 0.05


def test_an_agent_whose_episodes_all_failed_has_no_numbers() -> None:
    (summary,) = summarise({"one": [episode(0, 0.0, error="x")]}, seed=0)
    assert summary.errors == 1
    assert summary.success_rate is None
    assert "n/a" in results_table([summary]).rows[0]


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


def test_other_agents_do_not_change_an_agents_interval() -> None:
    one, other = episodes([1, 0, 0, 1, 0]), episodes([0, 1, 0])
    alone = summarise({"one": one}, seed=3)
    assert summarise({"other": other, "one": one}, seed=3)[1:] == alone


def test_only_shared_goals_are_compared() -> None:
    candidate = [episode(0, 1.0), episode(1, 1.0), episode(2, 0.0, error="x"), episode(3, 1.0)]
    baseline = [episode(3, 0.0), episode(1, 1.0), episode(2, 1.0), episode(0, 0.0)]
    compared = compare({"gated": candidate, "rag": baseline}, "gated", "rag", seed=0)
    assert (compared.goals, compared.unpaired) == (3, 1)
    assert compared.success_rate is not None
    assert compared.success_rate.mean == pytest.approx(2 / 3)


def test_goals_without_a_difference_prove_only_as_much_as_their_number_allows() -> None:
    for goals, expected in ((60, "neither"), (200, "matches with fewer tokens")):
        rewards = np.random.default_rng(0).random(goals).round()
        compared = compare({"a": episodes(rewards, 50), "b": episodes(rewards, 400)}, "a", "b", seed=0)
        assert compared.success_rate is not None
        assert compared.success_rate.mean == 0
        assert (
            -3.9 / goals < compared.success_rate.low < -3.5 / goals
        )  # Wilson's bound, z squared over goals + z squared
        assert compared.success_rate.high == -compared.success_rate.low
        assert outcome(compared) == expected


def test_a_clear_advantage_beats() -> None:
    rng = np.random.default_rng(0)
    trajectories = {"gated": episodes(rng.random(200) < 0.7), "rag": episodes(rng.random(200) < 0.4)}
    compared = compare(trajectories, "gated", "rag", seed=0)
    assert outcome(compared) == "beats"
    assert verdict(compared).startswith("gated beats rag: on 200 paired goals")
    assert outcome(compare(trajectories, "rag", "gated", seed=0)) == "worse"


def test_a_comparison_counts_the_goals_that_tell_two_agents_apart() -> None:
    candidate, baseline = [1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0]
    compared = compare({"a": episodes(candidate), "b": episodes(baseline)}, "a", "b", seed=0)
    assert (compared.wins, compared.losses, compared.discordance) == (5, 1, 6 / 8)
    assert compared.p_value == mcnemar_test(5, 1)


def test_seeds_of_a_goal_are_one_pair_in_the_test() -> None:
    rng = np.random.default_rng(1)
    once = {"a": episodes(rng.random(60) < 0.7), "b": episodes(rng.random(60) < 0.5)}
    thrice = {name: [*runs, *runs, *runs] for name, runs in once.items()}
    assert compare(thrice, "a", "b", seed=0) == compare(once, "a", "b", seed=0)


def test_comparisons_made_together_are_adjusted_together() -> None:
    rng = np.random.default_rng(2)
    trajectories = {name: episodes(rng.random(100) < rate) for name, rate in (("a", 0.7), ("b", 0.5), ("c", 0.6))}
    alone = [compare(trajectories, "a", other, seed=0) for other in ("b", "c")]
    together = compare_all(trajectories, "a", ["b", "c"], seed=0)
    assert [found.comparisons for found in together] == [2, 2]
    smaller, larger = sorted(found.p_value for found in alone)
    assert sorted(found.adjusted_p_value for found in together) == [2 * smaller, max(2 * smaller, larger)]
    assert [found.success_rate for found in together] == [found.success_rate for found in alone]
    assert "when adjusted for 2 comparisons" in verdict(together[0])


def test_equal_success_with_fewer_tokens_matches() -> None:
    rewards = np.random.default_rng(0).random(200).round()
    compared = compare({"gated": episodes(rewards, 50), "rag": episodes(rewards, 400)}, "gated", "rag", seed=0)
    assert outcome(compared) == "matches with fewer tokens"
    assert "a loss of 5 points or more is excluded" in verdict(compared)
    assert "-350 [-350, -350]" in verdict(compared)


@pytest.mark.parametrize(
    ("success", "tokens", "expected"),
    [
        ((0.05, 0.001, 0.10), (9, 8, 10), "gated beats rag"),
        ((0.05, 0.0, 0.10), (9, 8, 10), "gated neither beats rag nor matches it"),
        ((0.0, -0.049, 0.05), (-9, -10, -8), "gated matches rag with fewer tokens"),
        ((0.0, -0.051, 0.05), (-9, -10, -8), "gated neither beats rag nor matches it"),
        ((0.0, -0.049, 0.05), (-9, -20, 1), "gated neither beats rag nor matches it"),
        ((-0.2, -0.3, -0.1), (-9, -10, -8), "gated is worse than rag"),
        ((-0.02, -0.04, -0.001), (-9, -10, -8), "gated is worse than rag"),
    ],
)
def test_the_verdict_follows_the_bounds_of_the_intervals(
    success: tuple[float, float, float], tokens: tuple[float, float, float], expected: str
) -> None:
    assert verdict(comparison(success, tokens)).startswith(expected)


@pytest.mark.parametrize(
    ("p", "match_p", "expected"),
    [
        (0.05, 1.0, "beats"),
        (0.051, 1.0, "neither"),
        (0.051, 0.05, "matches with fewer tokens"),
        (0.051, 0.051, "neither"),
    ],
)
def test_the_outcome_needs_the_adjusted_test_beside_the_interval(p: float, match_p: float, expected: str) -> None:
    assert outcome(comparison((0.05, 0.001, 0.1), (-9, -10, -8), p=p, match_p=match_p)) == expected


def test_few_goals_decide_nothing() -> None:
    few = comparison((0.5, 0.4, 0.6), (-9, -10, -8), goals=49)
    assert outcome(few) == "undecided"
    assert "49 paired goals are too few" in verdict(few)


def test_one_shared_goal_has_no_interval() -> None:
    compared = compare({"a": episodes([1]), "b": episodes([0, 1])}, "a", "b", seed=0)
    assert (compared.goals, compared.unpaired, compared.success_rate) == (1, 1, None)
    assert comparisons_table([compared]).rows == (("b", "undecided", "1", "1 : 0", "n/a", "1", "n/a", "n/a"),)


def test_different_tasks_under_one_number_are_refused() -> None:
    trajectories = {"a": [episode(0, 1.0)], "b": [episode(0, 1.0, task="a desk")]}
    with pytest.raises(ValueError, match="goal 0 is not one task"):
        compare(trajectories, "a", "b", seed=0)


def test_an_unknown_agent_is_named() -> None:
    with pytest.raises(KeyError, match="no episodes of 'c'; there are some of: a"):
        compare({"a": episodes([1])}, "a", "c", seed=0)


def test_the_table_shows_percent_and_thousands() -> None:
    summary = AgentSummary(
        agent="one",
        goals=200,
        episodes=600,
        errors=1,
        success_rate=Interval(0.5, 0.431, 0.569),
        mean_reward=Interval(0.7, 0.65, 0.75),
        steps=Interval(5, 4.5, 5.5),
        prompt_tokens=Interval(12345, 12000, 12700),
        completion_tokens=None,
    )
    row = (
        "| one | 600 | 1 | 50.0 [43.1, 56.9] | 0.700 [0.650, 0.750] | 5.0 [4.5, 5.5] | 12,345 [12,000, 12,700] | n/a |"
    )
    assert results_table([summary]).markdown().splitlines()[2] == row


def test_csv_holds_every_bound_as_a_number() -> None:
    summaries = summarise({"a,b": episodes([1, 0, 1]), "none": []}, seed=0)
    rows = list(csv.DictReader(io.StringIO(results_csv(summaries))))
    assert rows[0]["agent"] == "a,b"
    assert summaries[0].success_rate is not None
    assert float(rows[0]["success_rate"]) == summaries[0].success_rate.mean
    assert float(rows[0]["success_rate_high"]) == summaries[0].success_rate.high
    assert rows[1]["mean_reward_low"] == ""
