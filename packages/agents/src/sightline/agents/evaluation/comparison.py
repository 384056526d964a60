"""Paired comparisons between agents, with intervals and with tests that are adjusted together.

The goals are the pairs: a comparison speaks of the goals that both agents finished without error, and every number is
first averaged per goal. The module knows nothing of how episodes were made, nor of what is said of a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sightline.agents.evaluation.bootstrap import (
    Clusters,
    Seeds,
    above_p_value,
    difference_p_value,
    resampled_means,
)
from sightline.agents.evaluation.episodes import MEASURES, EpisodesBySeed, GoalEpisodes, by_goal, exact_mean, measured
from sightline.agents.evaluation.intervals import Interval, percentile_interval, what_is_resampled, wilson_interval
from sightline.agents.evaluation.significance import holm, match_test, sign_flip_test

MATCH_MARGIN = 0.05
"""Agents match when a loss of success rate as large as this is excluded: 5 points."""

CONFIDENCE = 0.95
"""Of every interval."""

_ROUNDING = 1e-9
"""A difference of rates as small as this is none."""


class Comparison(BaseModel):
    """Candidate minus baseline on the goals that both finished without error; None when those are fewer than two."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[3] = 3
    candidate: str
    """Name of the agent that is judged."""
    baseline: str
    """Name of the agent that it is compared with."""
    goals: int
    """Paired goals."""
    unpaired: int
    """Goals left out because one of the two has no episode without error there."""
    wins: int
    """Goals on which the candidate's success rate over its episodes is the higher one."""
    losses: int
    """Goals on which it is the lower one."""
    discordance: float
    """Mean squared difference of the success rates on a goal; with one episode per goal and side the share of goals
    that end differently. `power.detectable_difference` takes it."""
    success_rate: Interval | None
    """Difference of the rates, -1 to 1. Where no goal tells the two apart the bootstrap has no width and the bounds are
    Wilson's for a share of 0 discordant goals."""
    mean_reward: Interval | None
    """Difference of rewards per episode."""
    prompt_tokens: Interval | None
    """Difference of tokens per episode; negative when the candidate reads less."""
    p_value: float
    """Two-sided p-value of equal success, by `sign_flip_test` over goals; where training seeds are resampled, that of
    the same resamples if it is larger."""
    match_p_value: float
    """P-value of success lower by `MATCH_MARGIN` or no fewer tokens read, by `match_test` over goals; where training
    seeds are resampled, that of the same resamples if it is larger."""
    tests: int
    """Number of tests that the adjusted p-values allow for, two for every comparison."""
    adjusted_p_value: float
    """`p_value` after Holm's adjustment."""
    adjusted_match_p_value: float
    """`match_p_value` after Holm's adjustment."""


def compare(
    episodes: Mapping[str, EpisodesBySeed],
    candidate: str,
    baseline: str,
    *,
    seed: int,
    seeds: Seeds = "resampled",
) -> Comparison:
    """Pair two agents on the goals they share.

    Args:
        episodes: agent -> its episodes by training seed.
        candidate: an agent.
        baseline: an agent.
        seed: seed of the bootstrap; every interval starts from it anew.
        seeds: `"resampled"` draws training seeds beside goals, for each agent apart; `"fixed"` keeps the given
            trainings.

    Raises:
        KeyError: an agent has no episodes.
        ValueError: the same goal number stands for different tasks.
    """
    return compare_all(episodes, candidate, [baseline], seed=seed, seeds=seeds)[0]


def compare_all(
    episodes: Mapping[str, EpisodesBySeed],
    candidate: str,
    baselines: Iterable[str],
    *,
    seed: int,
    seeds: Seeds = "resampled",
) -> list[Comparison]:
    """Compare one agent with several, with p-values adjusted for all of these comparisons together.

    Args:
        episodes: agent -> its episodes by training seed.
        candidate: an agent.
        baselines: other agents, all those that the report speaks of.
        seed: seed of the bootstrap; every interval starts from it anew.
        seeds: whether training seeds are drawn too, as in `compare`.

    Raises:
        KeyError: an agent has no episodes.
        ValueError: the same goal number stands for different tasks.
    """
    return adjust_together([_pair(episodes, candidate, baseline, seed, seeds) for baseline in baselines])


def adjust_together(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the p-values of comparisons as one family by Holm's method: two tests each, of difference and match."""
    tests = [each.p_value for each in comparisons] + [each.match_p_value for each in comparisons]
    adjusted = holm(tests)
    return [
        each.model_copy(update={"tests": len(tests), "adjusted_p_value": plain, "adjusted_match_p_value": match})
        for each, plain, match in zip(
            comparisons, adjusted[: len(comparisons)], adjusted[len(comparisons) :], strict=True
        )
    ]


def _pair(episodes: Mapping[str, EpisodesBySeed], candidate: str, baseline: str, seed: int, seeds: Seeds) -> Comparison:
    """Return a comparison whose p-values are not adjusted yet."""
    for name in (candidate, baseline):
        if name not in episodes:
            raise KeyError(f"there are no episodes of {name!r}; there are some of: {', '.join(episodes)}")
    first, second = by_goal(episodes[candidate]), by_goal(episodes[baseline])
    shared = [goal for goal in first if goal in second]
    sides = [[goals[goal] for goal in shared] for goals in (first, second)]
    _check_tasks(shared, sides, (candidate, baseline))
    attempted = {episode.goal for name in (candidate, baseline) for runs in episodes[name] for episode in runs}
    success = _exact_differences(sides, "success_rate")
    p_value = sign_flip_test(success)
    match_p_value = match_test(success, _exact_differences(sides, "prompt_tokens"), margin=MATCH_MARGIN)
    rate, reward, tokens = (
        _difference(sides, name, seed, seeds) for name in ("success_rate", "mean_reward", "prompt_tokens")
    )
    if rate.seeds_drawn:
        p_value = max(p_value, difference_p_value(rate.samples))
        match_p_value = max(
            match_p_value, above_p_value(rate.samples, -MATCH_MARGIN), above_p_value(-tokens.samples, 0.0)
        )
    return Comparison(
        candidate=candidate,
        baseline=baseline,
        goals=len(shared),
        unpaired=len(attempted) - len(shared),
        wins=sum(value > 0 for value in success),
        losses=sum(value < 0 for value in success),
        discordance=float(sum(value * value for value in success) / max(len(shared), 1)),
        success_rate=rate.or_wilson(len(shared)),
        mean_reward=reward.interval,
        prompt_tokens=tokens.interval,
        p_value=p_value,
        match_p_value=match_p_value,
        tests=1,
        adjusted_p_value=p_value,
        adjusted_match_p_value=match_p_value,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Difference:
    """A paired difference, None for fewer than two goals, and the `[resamples]` it was read off."""

    interval: Interval | None
    samples: np.ndarray
    seeds_drawn: bool

    def or_wilson(self, goals: int) -> Interval | None:
        """Return Wilson's interval for a share of 0 where nothing ever differs and the bootstrap has no width."""
        if self.interval is None or max(abs(self.interval.value), np.ptp(self.samples)) > _ROUNDING:
            return self.interval
        bound = wilson_interval(0, goals, confidence=CONFIDENCE)
        return Interval(0.0, -bound.high, bound.high, bound.confidence, bound.resampled)


def _difference(sides: Sequence[Sequence[GoalEpisodes]], name: str, seed: int, seeds: Seeds) -> _Difference:
    if len(sides[0]) < 2:
        return _Difference(None, np.empty(0), seeds_drawn=False)
    cells = [measured(side, MEASURES[name]) for side in sides]
    rng, clusters = np.random.default_rng(seed), Clusters(len(cells[0]), None)
    first, second = resampled_means(cells, rng, clusters, seeds=seeds)
    samples = (first - second)[~np.isnan(first - second)]
    value = float((cells[0].unit_means - cells[1].unit_means).mean())
    label = what_is_resampled(cells, seeds=seeds, unit="goals", clustered=False)
    seeds_drawn = seeds == "resampled" and max(each.seeds for each in cells) > 1
    return _Difference(percentile_interval(value, samples, CONFIDENCE, label), samples, seeds_drawn)


def _check_tasks(shared: Sequence[int], sides: Sequence[Sequence[GoalEpisodes]], names: tuple[str, str]) -> None:
    for goal, *both in zip(shared, *sides, strict=True):
        tasks = [next(episode for of_seed in runs for episode in of_seed).instruction for runs in both]
        if tasks[0] != tasks[1]:
            shown = dict(zip(names, tasks, strict=True))
            raise ValueError(f"goal {goal} is not one task: {shown}; compare episodes of one environment")


def _exact_differences(sides: Sequence[Sequence[GoalEpisodes]], name: str) -> list[Fraction]:
    """Return the difference on every goal, whose episodes under several training seeds are averaged."""
    measure = MEASURES[name]
    return [exact_mean(one, measure) - exact_mean(other, measure) for one, other in zip(*sides, strict=True)]
