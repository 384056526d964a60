"""Summaries of agents and paired comparisons between them, with intervals, tables and a verdict in words.

Every number is first averaged per goal (over training seeds, when a goal was attempted several times) and goals are
resampled. Episodes that an error broke off are counted apart: they are no failures and enter no mean.
The module knows nothing of how episodes were made.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sightline.agents.report import Table
from sightline.agents.statistics import Interval, bootstrap_interval, paired_difference, wilson_interval
from sightline.agents.trajectory import Trajectory

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

MATCH_MARGIN = 0.05
"""Agents match when a loss of success rate as large as this is excluded: 5 points."""

MINIMUM_GOALS = 50
"""Below this many paired goals no verdict is given: percentile intervals of rates are too narrow on few goals."""

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
        success_rate: difference of the rates, -1 to 1.
        mean_reward: difference per episode.
        prompt_tokens: difference per episode; negative when the candidate reads less.
    """

    model_config = _RECORD

    schema_version: Literal[1] = 1
    candidate: str
    baseline: str
    goals: int
    unpaired: int
    success_rate: Interval | None
    mean_reward: Interval | None
    prompt_tokens: Interval | None


Outcome = Literal["beats", "matches with fewer tokens", "neither", "undecided"]


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

    def difference(measure: str) -> Interval | None:
        if len(shared) < 2:
            return None
        sides = [[_mean(episodes[name][goal], _MEASURES[measure]) for goal in shared] for name in (candidate, baseline)]
        return paired_difference(*sides, np.random.default_rng(seed))

    attempted = {trajectory.goal for name in (candidate, baseline) for trajectory in trajectories[name]}
    return Comparison(
        candidate=candidate,
        baseline=baseline,
        goals=len(shared),
        unpaired=len(attempted) - len(shared),
        success_rate=difference("success_rate"),
        mean_reward=difference("mean_reward"),
        prompt_tokens=difference("prompt_tokens"),
    )


def outcome(comparison: Comparison, *, margin: float = MATCH_MARGIN) -> Outcome:
    """What the intervals allow to be said of the candidate.

    It *beats* the baseline when the whole interval of the success difference lies above 0. It *matches with fewer
    tokens* when that interval lies above ``-margin`` and the whole interval of the token difference lies below 0.
    It is *undecided* on fewer than `MINIMUM_GOALS` paired goals, and otherwise *neither*.
    """
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if comparison.goals < MINIMUM_GOALS or success is None or tokens is None:
        return "undecided"
    if success.low > 0:
        return "beats"
    if success.low > -margin and tokens.high < 0:
        return "matches with fewer tokens"
    return "neither"


def verdict(comparison: Comparison, *, margin: float = MATCH_MARGIN) -> str:
    """`outcome` as a sentence, with the intervals it rests on."""
    candidate, baseline, goals = comparison.candidate, comparison.baseline, comparison.goals
    found = outcome(comparison, margin=margin)
    success, tokens = comparison.success_rate, comparison.prompt_tokens
    if found == "undecided" or success is None or tokens is None:
        return (
            f"{candidate} against {baseline}: undecided, {goals} paired goals are too few (at least {MINIMUM_GOALS})."
        )
    evidence = (
        f"on {goals} paired goals its success rate differs by {_points(success)} percentage points and its prompt "
        f"tokens per episode by {_number(tokens, '+,.0f')} ({100 * success.confidence:g} % intervals in brackets)."
    )
    if found == "beats":
        return f"{candidate} beats {baseline}: {evidence}"
    if found == "matches with fewer tokens":
        limit = f"a loss of {100 * margin:g} points or more is excluded"
        return f"{candidate} matches {baseline} with fewer tokens ({limit}): {evidence}"
    if success.high < 0:
        return f"{candidate} is worse than {baseline}: {evidence}"
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


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Paired differences for a page or a terminal, each with its interval and outcome."""
    return Table(
        columns=("candidate", "baseline", "goals", "success, points", "reward", "prompt tokens", "outcome"),
        rows=tuple(
            (
                comparison.candidate,
                comparison.baseline,
                str(comparison.goals),
                _points(comparison.success_rate),
                _number(comparison.mean_reward, "+.3f"),
                _number(comparison.prompt_tokens, "+,.0f"),
                outcome(comparison),
            )
            for comparison in comparisons
        ),
        caption="Candidate minus baseline on the same goals, with 95 % bootstrap intervals.",
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

    def interval(measure: str) -> Interval | None:
        means = [_mean(runs, _MEASURES[measure]) for runs in goals.values()]
        if len(means) < 2:
            return None
        if measure == "success_rate" and sum(means) in (0, len(means)):
            return wilson_interval(round(sum(means)), len(means))
        return bootstrap_interval(means, np.random.default_rng(seed))

    return AgentSummary(
        agent=agent,
        goals=len(goals),
        episodes=episodes,
        errors=len(trajectories) - episodes,
        success_rate=interval("success_rate"),
        mean_reward=interval("mean_reward"),
        steps=interval("steps"),
        prompt_tokens=interval("prompt_tokens"),
        completion_tokens=interval("completion_tokens"),
    )


def _by_goal(trajectories: Iterable[Trajectory]) -> dict[int, list[Trajectory]]:
    """The episodes without error under their goal, in order of first appearance."""
    goals = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.error is None:
            goals[trajectory.goal].append(trajectory)
    return dict(goals)


def _mean(trajectories: Sequence[Trajectory], measure: Measure) -> float:
    return sum(map(measure, trajectories)) / len(trajectories)


def _points(interval: Interval | None) -> str:
    return _number(interval, "+.1f", scale=100)


def _number(interval: Interval | None, style: str, *, scale: float = 1) -> str:
    if interval is None:
        return "n/a"
    mean, low, high = (format(scale * value, style) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"
