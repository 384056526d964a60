"""What may be said of a comparison: a verdict by fixed rules, as a word, a sentence and a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sightline.agents.evaluation.comparison import MATCH_MARGIN, Comparison
from sightline.agents.evaluation.intervals import resampled_by, show_interval
from sightline.agents.tables import Table

MINIMUM_GOALS = 50
"""Below this many paired goals no verdict is given: percentile intervals of rates are too narrow on few goals."""

LEVEL = 0.05
"""A test counts when its adjusted p-value is at most this."""

VERDICT_RULE = (
    "Both agents attempt the same goals, and on every goal the success rate of the second is taken from that of the "
    "first. The first beats the second when it succeeds more often and chance is a poor explanation: the whole 95 % "
    "interval of the mean difference lies above 0, and a test says that chance alone would bring about as large a "
    f"difference in at most {100 * LEVEL:g} of 100 such experiments. It is worse when the same holds below 0. It "
    f"matches the second with fewer tokens when a loss of {100 * MATCH_MARGIN:g} points of success or more can be "
    "excluded, and reading as many tokens too, each by an interval and a test. Who asks more questions is more often "
    "fooled by chance, so the p-values of all these tests, two for every comparison in the report, are raised together "
    "by Holm's method. Where an agent was trained several times, intervals and tests allow for other training seeds as "
    f"well as for other goals. With fewer than {MINIMUM_GOALS} goals in common nothing is said. In all other cases "
    "the first neither beats nor matches the second."
)
"""How `decide` decides, for a reader."""

Verdict = Literal["beats", "worse", "matches with fewer tokens", "neither", "undecided"]


def decide(comparison: Comparison) -> Verdict:
    """Return what the intervals and the adjusted tests together allow to be said of the candidate.

    See `VERDICT_RULE`.
    """
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if comparison.goals < MINIMUM_GOALS or success is None or tokens is None:
        return "undecided"
    if comparison.adjusted_p_value <= LEVEL and (success.low > 0 or success.high < 0):
        return "beats" if success.low > 0 else "worse"
    if comparison.adjusted_match_p_value <= LEVEL and success.low > -MATCH_MARGIN and tokens.high < 0:
        return "matches with fewer tokens"
    return "neither"


def verdict_text(comparison: Comparison) -> str:
    """Return the verdict as a sentence, with the intervals and the p-value it rests on."""
    candidate, baseline, goals = comparison.candidate, comparison.baseline, comparison.goals
    verdict = decide(comparison)
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if verdict == "undecided" or success is None or tokens is None:
        return (
            f"{candidate} against {baseline}: undecided, {goals} paired goals are too few (at least {MINIMUM_GOALS})."
        )
    evidence = (
        f"on {goals} paired goals its success rate differs by {show_interval(success, '+.1f', scale=100)} percentage "
        f"points (p = {comparison.p_value:.2g}, {comparison.adjusted_p_value:.2g} when adjusted for "
        f"{comparison.tests} tests) and its prompt tokens per episode by {show_interval(tokens, '+,.0f')} "
        f"({100 * success.confidence:g} % intervals in brackets; resampled: {resampled_by((success, tokens))})."
    )
    if verdict == "beats":
        return f"{candidate} beats {baseline}: {evidence}"
    if verdict == "worse":
        return f"{candidate} is worse than {baseline}: {evidence}"
    if verdict == "matches with fewer tokens":
        limit = (
            f"a loss of {100 * MATCH_MARGIN:g} points or more is excluded, adjusted "
            f"p = {comparison.adjusted_match_p_value:.2g}"
        )
        return f"{candidate} matches {baseline} with fewer tokens ({limit}): {evidence}"
    return f"{candidate} neither beats {baseline} nor matches it with fewer tokens: {evidence}"


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Return paired differences for a page or a terminal, each with its verdict, intervals and p-values."""
    candidates = list(dict.fromkeys(comparison.candidate for comparison in comparisons))
    return Table(
        columns=(
            "against",
            "verdict",
            "goals",
            "won : lost",
            "success, points",
            "adjusted p",
            "adjusted p, match",
            "reward",
            "prompt tokens",
            "resampled",
        ),
        rows=tuple(
            (
                comparison.baseline if len(candidates) == 1 else f"{comparison.candidate} - {comparison.baseline}",
                decide(comparison),
                str(comparison.goals),
                f"{comparison.wins} : {comparison.losses}",
                show_interval(comparison.success_rate, "+.1f", scale=100),
                f"{comparison.adjusted_p_value:.2g}",
                f"{comparison.adjusted_match_p_value:.2g}",
                show_interval(comparison.mean_reward, "+.3f"),
                show_interval(comparison.prompt_tokens, "+,.0f"),
                resampled_by((comparison.success_rate, comparison.mean_reward, comparison.prompt_tokens)),
            )
            for comparison in comparisons
        ),
        caption=f"{', '.join(candidates)} minus each other agent on the same goals, with 95 % bootstrap intervals. "
        "The first p is that of equal success, the second that of a loss of success or of as many tokens; all are "
        "adjusted together by Holm's method.",
    )
