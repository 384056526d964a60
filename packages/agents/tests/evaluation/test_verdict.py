from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from sightline.agents.evaluation.comparison import Comparison, compare
from sightline.agents.evaluation.intervals import Interval
from sightline.agents.evaluation.verdict import VERDICT_RULE, comparisons_table, decide, verdict_text
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


def comparison(
    success: tuple[float, float, float],
    tokens: tuple[float, float, float],
    goals: int = 200,
    *,
    adjusted_p: float = 0.03,
    adjusted_match_p: float = 0.04,
) -> Comparison:
    """A comparison in which no two quantities are equal, so that none can stand in for another unnoticed."""
    return Comparison(
        candidate="gated",
        baseline="rag",
        goals=goals,
        unpaired=0,
        wins=3,
        losses=2,
        discordance=0.1,
        success_rate=Interval(*success, 0.95, "goals and training seeds"),
        mean_reward=Interval(0.1, 0.05, 0.15, 0.95, "goals and training seeds"),
        prompt_tokens=Interval(*tokens, 0.95, "goals and training seeds"),
        p_value=0.001,
        match_p_value=0.002,
        tests=10,
        adjusted_p_value=adjusted_p,
        adjusted_match_p_value=adjusted_match_p,
    )


@pytest.mark.parametrize(
    ("success", "tokens", "expected"),
    [
        ((0.05, 0.001, 0.10), (9, 8, 10), "gated beats rag"),
        ((0.05, 0.0, 0.10), (9, 8, 10), "gated neither beats rag nor matches it"),
        ((0.0, -0.049, 0.05), (-9, -10, -8), "gated matches rag with fewer tokens"),
        ((0.0, -0.05, 0.05), (-9, -10, -8), "gated neither beats rag nor matches it"),
        ((0.0, -0.049, 0.05), (-9, -20, 0.0), "gated neither beats rag nor matches it"),
        ((0.0, -0.049, 0.0), (-9, -20, -1), "gated matches rag with fewer tokens"),
        ((-0.2, -0.3, -0.1), (-9, -10, -8), "gated is worse than rag"),
        ((-0.02, -0.04, -0.001), (-9, -10, -8), "gated is worse than rag"),
    ],
)
def test_the_verdict_follows_the_bounds_of_the_intervals(
    success: tuple[float, float, float], tokens: tuple[float, float, float], expected: str
) -> None:
    assert verdict_text(comparison(success, tokens)).startswith(expected)


@pytest.mark.parametrize(
    ("adjusted_p", "adjusted_match_p", "expected"),
    [
        (0.05, 1.0, "beats"),
        (0.051, 1.0, "neither"),
        (0.051, 0.05, "matches with fewer tokens"),
        (0.051, 0.051, "neither"),
    ],
)
def test_the_verdict_needs_the_adjusted_test_beside_the_interval(
    adjusted_p: float, adjusted_match_p: float, expected: str
) -> None:
    found = comparison((0.05, 0.001, 0.1), (-9, -10, -8), adjusted_p=adjusted_p, adjusted_match_p=adjusted_match_p)
    assert found.p_value < 0.05 > found.match_p_value  # plain p-values would say more
    assert decide(found) == expected


def test_few_goals_decide_nothing() -> None:
    few = comparison((0.5, 0.4, 0.6), (-9, -10, -8), goals=49)
    assert decide(few) == "undecided"
    assert "49 paired goals are too few (at least 50)" in verdict_text(few)
    assert decide(comparison((0.5, 0.4, 0.6), (-9, -10, -8), goals=50)) == "beats"


def test_a_clear_advantage_beats() -> None:
    rng = np.random.default_rng(0)
    trajectories = {"gated": episodes(rng.random(200) < 0.7), "rag": episodes(rng.random(200) < 0.4)}
    compared = compare(trajectories, "gated", "rag", seed=0)
    assert decide(compared) == "beats"
    assert verdict_text(compared).startswith("gated beats rag: on 200 paired goals")
    assert decide(compare(trajectories, "rag", "gated", seed=0)) == "worse"


def test_equal_success_with_fewer_tokens_matches() -> None:
    rewards = np.random.default_rng(0).random(200).round()
    compared = compare({"gated": episodes(rewards, 50), "rag": episodes(rewards, 400)}, "gated", "rag", seed=0)
    assert decide(compared) == "matches with fewer tokens"
    assert "a loss of 5 points or more is excluded" in verdict_text(compared)
    assert "-350 [-350, -350]" in verdict_text(compared)


def test_goals_without_a_difference_prove_only_as_much_as_their_number_allows() -> None:
    for goals, expected in ((60, "neither"), (200, "matches with fewer tokens")):
        rewards = np.random.default_rng(0).random(goals).round()
        compared = compare({"a": episodes(rewards, 50), "b": episodes(rewards, 400)}, "a", "b", seed=0)
        # Wilson's upper bound for no discordant goal would exclude the margin of 5 points from 73 goals on.
        assert decide(compared) == expected


def test_one_lucky_training_seed_does_not_beat() -> None:
    rng = np.random.default_rng(1)
    seeds = [*episodes(rng.random(200) < 0.5), *episodes(rng.random(200) < 0.5), *episodes([1] * 200)]
    trajectories = {"gated": seeds, "rag": episodes(rng.random(200) < 0.5)}
    assert decide(compare(trajectories, "gated", "rag", seed=0, seeds="fixed")) == "beats"
    assert decide(compare(trajectories, "gated", "rag", seed=0)) == "neither"


def test_the_sentence_says_what_it_rests_on() -> None:
    text = verdict_text(comparison((0.05, 0.001, 0.10), (9, 8, 10)))
    assert text == (
        "gated beats rag: on 200 paired goals its success rate differs by +5.0 [+0.1, +10.0] percentage points (p = "
        "0.001, 0.03 when adjusted for 10 tests) and its prompt tokens per episode by +9 [+8, +10] (95 % intervals in "
        "brackets; resampled: goals and training seeds)."
    )
    matched = verdict_text(comparison((0.0, -0.049, 0.05), (-9, -10, -8)))
    assert "(a loss of 5 points or more is excluded, adjusted p = 0.04)" in matched


def test_the_table_shows_both_adjusted_p_values_and_what_was_resampled() -> None:
    found = comparison((0.05, 0.001, 0.10), (9, 8, 10))
    row = (
        "rag",
        "beats",
        "200",
        "3 : 2",
        "+5.0 [+0.1, +10.0]",
        "0.03",
        "0.04",
        "+0.100 [+0.050, +0.150]",
        "+9 [+8, +10]",
        "goals and training seeds",
    )
    assert comparisons_table([found]).rows == (row,)
    assert comparisons_table([found]).columns[1] == "verdict"
    other = found.model_copy(update={"candidate": "oracle"})
    assert [row[0] for row in comparisons_table([found, other]).rows] == ["gated - rag", "oracle - rag"]


def test_without_an_interval_nothing_is_said() -> None:
    compared = compare({"a": episodes([1]), "b": episodes([0, 1])}, "a", "b", seed=0)
    assert comparisons_table([compared]).rows == (
        ("b", "undecided", "1", "1 : 0", "n/a", "1", "1", "n/a", "n/a", "n/a"),
    )


def test_bounds_other_than_95_percent_are_named() -> None:
    found = comparison((0.05, 0.001, 0.10), (9, 8, 10))
    assert found.success_rate is not None
    sure = found.model_copy(update={"success_rate": replace(found.success_rate, confidence=0.99)})
    assert "(99 % intervals in brackets" in verdict_text(sure)


def test_the_rule_is_told_in_short_sentences_and_with_the_numbers_that_decide() -> None:
    sentences = [sentence.split() for sentence in VERDICT_RULE.split(". ")]
    assert max(map(len, sentences)) <= 50
    assert np.mean([len(sentence) for sentence in sentences]) <= 30
    for part in ("95 %", "5 points", "50 goals", "Holm", "training seeds"):
        assert part in VERDICT_RULE
