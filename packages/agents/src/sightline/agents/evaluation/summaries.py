"""Summaries of agents and paired comparisons between them, with intervals, tables and a verdict in words.

Every number is first averaged per goal (over training seeds, when a goal was attempted several times) and goals are
resampled. Episodes that an error broke off are counted apart: they are no failures and enter no mean. Comparisons
rest on an interval and on a test, which is adjusted for all comparisons that are reported together.
The module knows nothing of how episodes were made.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sightline.agents.evaluation.intervals import Interval, bootstrap_interval, rate_interval, wilson_interval
from sightline.agents.evaluation.significance import holm, match_test, sign_flip_test
from sightline.agents.tables import Table
from sightline.agents.trajectory import Trajectory

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

MATCH_MARGIN = 0.05
"""Agents match when a loss of success rate as large as this is excluded: 5 points."""

MINIMUM_GOALS = 50
"""Below this many paired goals no verdict is given: percentile intervals of rates are too narrow on few goals."""

LEVEL = 0.05
"""A test counts when its adjusted p-value is at most this."""

VERDICT_RULE = (
    f"An agent beats another, or is worse, when the whole 95 % interval of the difference of success rates (bootstrap "
    f"over goals) lies on one side of 0 and the exact sign-flip test over goals (McNemar's test where every goal was "
    f"attempted once) gives an adjusted p of at most {LEVEL:g}. It matches with fewer tokens when that interval lies "
    f"above -{100 * MATCH_MARGIN:g} points, the interval of the token difference lies below 0, and both one-sided "
    f"tests, doubled, give an adjusted p of at most {LEVEL:g}. p-values are adjusted by Holm's method over all "
    f"comparisons of the report, each kind of statement on its own. Below {MINIMUM_GOALS} paired goals nothing is said."
)
"""How `outcome` decides, for a reader."""

Measure = Callable[[Trajectory], float]

_MEASURES: Mapping[str, Measure] = {
    "success_rate": lambda trajectory: float(trajectory.success),
    "mean_reward": lambda trajectory: trajectory.total_reward,
    "steps": lambda trajectory: len(trajectory.steps),
    "prompt_tokens": lambda trajectory: sum(step.prompt_tokens for step in trajectory.steps),
    "completion_tokens": lambda trajectory: sum(step.completion_tokens for step in trajectory.steps),
}


class AgentSummary(BaseModel):
    """How one agent did. Intervals are None when fewer than two goals have an episode without error.

    Attributes:
        agent: its name.
        goals: goals with at least one episode without error.
        episodes: episodes without error.
        errors: episodes that an error broke off; in none of the numbers below.
        success_rate: share of episodes with the full reward. Where it is 0 or 1 on every goal the bootstrap has no
            width and the interval is Wilson's.
        mean_reward: per episode.
        steps: per episode.
        prompt_tokens: per episode.
        completion_tokens: per episode.
    """

    model_config = _RECORD

    schema_version: Literal[1] = 1
    agent: str
    goals: int
    episodes: int
    errors: int
    success_rate: Interval | None
    mean_reward: Interval | None
    steps: Interval | None
    prompt_tokens: Interval | None
    completion_tokens: Interval | None


class Comparison(BaseModel):
    """Candidate minus baseline on the goals that both finished without error; None when those are fewer than two.

    Attributes:
        candidate: name of the one agent.
        baseline: name of the other.
        goals: paired goals.
        unpaired: goals left out because one of the two has no episode without error there.
        wins: goals on which the candidate's success rate over its runs is the higher one.
        losses: goals on which it is the lower one.
        discordance: mean squared difference of the success rates on a goal; with one run per goal and side the share
            of goals that end differently. `power.detectable_difference` takes it.
        success_rate: difference of the rates, -1 to 1. Where no goal tells the two apart the bootstrap has no width
            and the bounds are Wilson's for a share of 0 discordant goals.
        mean_reward: difference per episode.
        prompt_tokens: difference per episode; negative when the candidate reads less.
        p_value: of `sign_flip_test` on the success rates, two-sided.
        match_p_value: the larger of two, that success is not lower by `MATCH_MARGIN` and that fewer tokens are read.
        comparisons: how many comparisons the adjusted p-values allow for.
        adjusted_p_value: `p_value` after Holm's adjustment.
        adjusted_match_p_value: `match_p_value` after Holm's adjustment.
    """

    model_config = _RECORD

    schema_version: Literal[2] = 2
    candidate: str
    baseline: str
    goals: int
    unpaired: int
    wins: int
    losses: int
    discordance: float
    success_rate: Interval | None
    mean_reward: Interval | None
    prompt_tokens: Interval | None
    p_value: float
    match_p_value: float
    comparisons: int = 1
    adjusted_p_value: float
    adjusted_match_p_value: float


Outcome = Literal["beats", "worse", "matches with fewer tokens", "neither", "undecided"]


def summarise(trajectories: Mapping[str, Sequence[Trajectory]], *, seed: int) -> list[AgentSummary]:
    """One summary per agent, in the given order.

    Args:
        trajectories: agent -> its episodes; a goal may occur several times, for example once per training seed.
        seed: of the bootstrap; every interval starts from it anew, so none depends on which others are computed.
    """
    return [_summary(agent, episodes, seed) for agent, episodes in trajectories.items()]


def compare(
    trajectories: Mapping[str, Sequence[Trajectory]], candidate: str, baseline: str, *, seed: int
) -> Comparison:
    """Pair two agents on the goals they share.

    Args:
        trajectories: agent -> its episodes.
        candidate: an agent.
        baseline: an agent.
        seed: of the bootstrap.

    Raises:
        KeyError: an agent has no trajectories.
        ValueError: the same goal number stands for different tasks.
    """
    episodes = {}
    for name in (candidate, baseline):
        if name not in trajectories:
            raise KeyError(f"there are no episodes of {name!r}; there are some of: {', '.join(trajectories)}")
        episodes[name] = _by_goal(trajectories[name])
    shared = [goal for goal in episodes[candidate] if goal in episodes[baseline]]
    for goal in shared:
        tasks = {name: episodes[name][goal][0].instruction for name in episodes}
        if tasks[candidate] != tasks[baseline]:
            raise ValueError(f"goal {goal} is not one task: {tasks}; compare episodes of one environment")

    sides = [[_by_measure(episodes[name][goal]) for goal in shared] for name in (candidate, baseline)]
    success, rewards, tokens = (
        [first[measure] - second[measure] for first, second in zip(*sides, strict=True)]
        for measure in ("success_rate", "mean_reward", "prompt_tokens")
    )
    p_value, match_p_value = sign_flip_test(success), match_test(success, tokens, margin=MATCH_MARGIN)
    attempted = {trajectory.goal for name in (candidate, baseline) for trajectory in trajectories[name]}
    return Comparison(
        candidate=candidate,
        baseline=baseline,
        goals=len(shared),
        unpaired=len(attempted) - len(shared),
        wins=sum(value > 0 for value in success),
        losses=sum(value < 0 for value in success),
        discordance=float(sum(value * value for value in success) / max(len(shared), 1)),
        success_rate=_interval_of_success(success, seed),
        mean_reward=_interval(rewards, seed),
        prompt_tokens=_interval(tokens, seed),
        p_value=p_value,
        match_p_value=match_p_value,
        adjusted_p_value=p_value,
        adjusted_match_p_value=match_p_value,
    )


def compare_all(
    trajectories: Mapping[str, Sequence[Trajectory]], candidate: str, baselines: Iterable[str], *, seed: int
) -> list[Comparison]:
    """`compare` one agent with several, with p-values adjusted for making all of these comparisons.

    Args:
        trajectories: agent -> its episodes.
        candidate: an agent.
        baselines: other agents, all those that the report speaks of.
        seed: of the bootstrap.

    Raises:
        KeyError: an agent has no trajectories.
        ValueError: the same goal number stands for different tasks.
    """
    alone = [compare(trajectories, candidate, baseline, seed=seed) for baseline in baselines]
    adjusted = holm([comparison.p_value for comparison in alone])
    matching = holm([comparison.match_p_value for comparison in alone])
    return [
        comparison.model_copy(
            update={"comparisons": len(alone), "adjusted_p_value": p_value, "adjusted_match_p_value": match_p_value}
        )
        for comparison, p_value, match_p_value in zip(alone, adjusted, matching, strict=True)
    ]


def outcome(comparison: Comparison) -> Outcome:
    """What the intervals and the adjusted tests together allow to be said of the candidate; see `VERDICT_RULE`."""
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if comparison.goals < MINIMUM_GOALS or success is None or tokens is None:
        return "undecided"
    if comparison.adjusted_p_value <= LEVEL and (success.low > 0 or success.high < 0):
        return "beats" if success.low > 0 else "worse"
    if comparison.adjusted_match_p_value <= LEVEL and success.low > -MATCH_MARGIN and tokens.high < 0:
        return "matches with fewer tokens"
    return "neither"


def verdict(comparison: Comparison) -> str:
    """`outcome` as a sentence, with the intervals and the p-value it rests on."""
    candidate, baseline, goals = comparison.candidate, comparison.baseline, comparison.goals
    found = outcome(comparison)
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if found == "undecided" or success is None or tokens is None:
        return (
            f"{candidate} against {baseline}: undecided, {goals} paired goals are too few (at least {MINIMUM_GOALS})."
        )
    evidence = (
        f"on {goals} paired goals its success rate differs by {_points(success)} percentage points "
        f"({_p_value(comparison)}) and its prompt tokens per episode by {_number(tokens, '+,.0f')} "
        f"({100 * success.confidence:g} % intervals in brackets)."
    )
    if found == "beats":
        return f"{candidate} beats {baseline}: {evidence}"
    if found == "worse":
        return f"{candidate} is worse than {baseline}: {evidence}"
    if found == "matches with fewer tokens":
        limit = (
            f"a loss of {100 * MATCH_MARGIN:g} points or more is excluded, adjusted "
            f"p = {comparison.adjusted_match_p_value:.2g}"
        )
        return f"{candidate} matches {baseline} with fewer tokens ({limit}): {evidence}"
    return f"{candidate} neither beats {baseline} nor matches it with fewer tokens: {evidence}"


def results_table(summaries: Iterable[AgentSummary]) -> Table:
    """The agents' numbers for a page or a terminal, each with its interval."""
    return Table(
        columns=("agent", "episodes", "errors", "success %", "reward", "steps", "prompt tokens", "completion tokens"),
        rows=tuple(
            (
                summary.agent,
                str(summary.episodes),
                str(summary.errors),
                _number(summary.success_rate, ".1f", scale=100),
                _number(summary.mean_reward, ".3f"),
                _number(summary.steps, ".1f"),
                _number(summary.prompt_tokens, ",.0f"),
                _number(summary.completion_tokens, ",.0f"),
            )
            for summary in summaries
        ),
        caption="Means per episode over goals, with 95 % bootstrap intervals; episodes with an error are left out.",
    )


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Paired differences for a page or a terminal, each with its outcome, interval and p-value."""
    candidates = list(dict.fromkeys(comparison.candidate for comparison in comparisons))
    return Table(
        columns=(
            "against",
            "outcome",
            "goals",
            "won : lost",
            "success, points",
            "adjusted p",
            "reward",
            "prompt tokens",
        ),
        rows=tuple(
            (
                comparison.baseline if len(candidates) == 1 else f"{comparison.candidate} - {comparison.baseline}",
                outcome(comparison),
                str(comparison.goals),
                f"{comparison.wins} : {comparison.losses}",
                _points(comparison.success_rate),
                f"{comparison.adjusted_p_value:.2g}",
                _number(comparison.mean_reward, "+.3f"),
                _number(comparison.prompt_tokens, "+,.0f"),
            )
            for comparison in comparisons
        ),
        caption=f"{', '.join(candidates)} minus each other agent on the same goals, with 95 % bootstrap intervals over "
        "goals; p of the exact sign-flip test of success, adjusted by Holm's method over these comparisons.",
    )


def results_csv(summaries: Iterable[AgentSummary]) -> str:
    """The agents' numbers for a program: one row per agent, three columns (mean, low, high) per measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [f"{measure}{suffix}" for measure in _MEASURES for suffix in ("", "_low", "_high")]
    writer.writerow(["agent", "goals", "episodes", "errors", *bounds])
    for summary in summaries:
        row: list[str | int | float] = [summary.agent, summary.goals, summary.episodes, summary.errors]
        for measure in _MEASURES:
            interval: Interval | None = getattr(summary, measure)
            row += ["", "", ""] if interval is None else [interval.mean, interval.low, interval.high]
        writer.writerow(row)
    return text.getvalue()


def _summary(agent: str, trajectories: Sequence[Trajectory], seed: int) -> AgentSummary:
    goals = _by_goal(trajectories)
    episodes = sum(map(len, goals.values()))

    def means(measure: str) -> list[Fraction]:
        return [_by_measure(runs)[measure] for runs in goals.values()]

    return AgentSummary(
        agent=agent,
        goals=len(goals),
        episodes=episodes,
        errors=len(trajectories) - episodes,
        success_rate=rate_interval([float(m) for m in means("success_rate")], np.random.default_rng(seed)),
        mean_reward=_interval(means("mean_reward"), seed),
        steps=_interval(means("steps"), seed),
        prompt_tokens=_interval(means("prompt_tokens"), seed),
        completion_tokens=_interval(means("completion_tokens"), seed),
    )


def _by_goal(trajectories: Iterable[Trajectory]) -> dict[int, list[Trajectory]]:
    """The episodes without error under their goal, in order of first appearance."""
    goals = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.error is None:
            goals[trajectory.goal].append(trajectory)
    return dict(goals)


def _by_measure(runs: Sequence[Trajectory]) -> dict[str, Fraction]:
    """The exact mean over a goal's runs of every measure."""
    return {
        name: sum((Fraction(measure(run)) for run in runs), Fraction()) / len(runs)
        for name, measure in _MEASURES.items()
    }


def _interval(values: Sequence[Fraction], seed: int) -> Interval | None:
    """Of the mean over goals; every interval starts from the seed anew."""
    return (
        bootstrap_interval([float(value) for value in values], np.random.default_rng(seed)) if len(values) > 1 else None
    )


def _interval_of_success(differences: Sequence[Fraction], seed: int) -> Interval | None:
    if len(differences) < 2 or any(differences):
        return _interval(differences, seed)
    bound = wilson_interval(0, len(differences)).high
    return Interval(0.0, -bound, bound)


def _p_value(comparison: Comparison) -> str:
    """Of the difference in success, and where several comparisons were made also what remains of it."""
    shown = f"p = {comparison.p_value:.2g}"
    if comparison.comparisons == 1:
        return shown
    return f"{shown}, {comparison.adjusted_p_value:.2g} when adjusted for {comparison.comparisons} comparisons"


def _points(interval: Interval | None) -> str:
    return _number(interval, "+.1f", scale=100)


def _number(interval: Interval | None, style: str, *, scale: float = 1) -> str:
    if interval is None:
        return "n/a"
    mean, low, high = (format(scale * value, style) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"
