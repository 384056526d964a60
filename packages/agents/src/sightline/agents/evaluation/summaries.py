"""Summaries of agents: means per episode with intervals, as a table and as CSV.

Every number is first averaged per goal; goals are resampled, and training seeds where an agent was trained several
times. Episodes that an error broke off are counted apart: they are no failures and enter no mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sightline.agents.evaluation.bootstrap import Seeds
from sightline.agents.evaluation.episodes import MEASURES, EpisodesBySeed, by_goal, measured
from sightline.agents.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    rate_interval,
    resampled_by,
    show_interval,
)
from sightline.agents.tables import Table


class AgentSummary(BaseModel):
    """How one agent did. Intervals are None when fewer than two goals have an episode without error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[2] = 2
    agent: str
    """Name of the agent."""
    goals: int
    """Goals with at least one episode without error."""
    episodes: int
    """Episodes without error."""
    errors: int
    """Episodes that an error broke off; in none of the numbers below."""
    success_rate: Interval | None
    """Share of episodes with the full reward. Where it is 0 or 1 on every goal the bootstrap has no width and the
    interval is Wilson's."""
    mean_reward: Interval | None
    """Reward per episode."""
    steps: Interval | None
    """Steps per episode."""
    prompt_tokens: Interval | None
    """Tokens read per episode."""
    completion_tokens: Interval | None
    """Tokens written per episode."""


def summarise(episodes: Mapping[str, EpisodesBySeed], *, seed: int, seeds: Seeds = "resampled") -> list[AgentSummary]:
    """Return one summary per agent, in the given order.

    Args:
        episodes: agent -> its episodes by training seed.
        seed: seed of the bootstrap; every interval starts from it anew, so none depends on which others are computed.
        seeds: `"resampled"` draws training seeds beside goals, `"fixed"` keeps the given trainings.
    """
    return [_summary(agent, of_agent, seed, seeds) for agent, of_agent in episodes.items()]


def results_table(summaries: Iterable[AgentSummary]) -> Table:
    """Return the agents' numbers for a page or a terminal, each with its interval."""
    return Table(
        columns=(
            "agent",
            "episodes",
            "errors",
            "success %",
            "reward",
            "steps",
            "prompt tokens",
            "completion tokens",
            "resampled",
        ),
        rows=tuple(
            (
                summary.agent,
                str(summary.episodes),
                str(summary.errors),
                show_interval(summary.success_rate, ".1f", scale=100),
                show_interval(summary.mean_reward, ".3f"),
                show_interval(summary.steps, ".1f"),
                show_interval(summary.prompt_tokens, ",.0f"),
                show_interval(summary.completion_tokens, ",.0f"),
                resampled_by(getattr(summary, measure) for measure in MEASURES),
            )
            for summary in summaries
        ),
        caption="Means per episode over goals, with 95 % bootstrap intervals; episodes with an error are left out. The "
        "last column says what the intervals allow for: other goals, and other training seeds where there are several.",
    )


def results_csv(summaries: Iterable[AgentSummary]) -> str:
    """Return the agents' numbers for a program: one row per agent, four columns per measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [f"{measure}{suffix}" for measure in MEASURES for suffix in ("", "_low", "_high", "_resampled")]
    writer.writerow(["agent", "goals", "episodes", "errors", *bounds])
    for summary in summaries:
        row: list[str | int | float] = [summary.agent, summary.goals, summary.episodes, summary.errors]
        for measure in MEASURES:
            interval: Interval | None = getattr(summary, measure)
            row += [""] * 4 if interval is None else [interval.value, interval.low, interval.high, interval.resampled]
        writer.writerow(row)
    return text.getvalue()


def _summary(agent: str, episodes: EpisodesBySeed, seed: int, seeds: Seeds) -> AgentSummary:
    goals = by_goal(episodes)
    clean = sum(len(of_seed) for goal in goals.values() for of_seed in goal)

    def interval(name: str) -> Interval | None:
        if len(goals) < 2:
            return None
        cells, rng = measured(goals.values(), MEASURES[name]), np.random.default_rng(seed)
        of = rate_interval if name == "success_rate" else bootstrap_interval
        return of(cells.values, rng, weights=cells.weights, seeds=seeds)

    return AgentSummary(
        agent=agent,
        goals=len(goals),
        episodes=clean,
        errors=sum(map(len, episodes)) - clean,
        success_rate=interval("success_rate"),
        mean_reward=interval("mean_reward"),
        steps=interval("steps"),
        prompt_tokens=interval("prompt_tokens"),
        completion_tokens=interval("completion_tokens"),
    )
