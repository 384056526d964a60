"""Whether two agents succeed alike: a loss, or a gain, as large as a margin is excluded.

That a test finds no difference does not show that there is none; that every difference of a size worth caring about is
excluded does (Schuirmann 1987, two one-sided tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sightline.agents.evaluation.bootstrap import Clusters, above_p_value, resampled_means
from sightline.agents.evaluation.episodes import MEASURES, EpisodesBySeed, by_goal, measured
from sightline.agents.evaluation.intervals import Interval, paired_difference
from sightline.agents.evaluation.significance import mean_above_test


@dataclass(frozen=True, slots=True)
class WithinMargin:
    """How far a candidate's success rate may lie from a baseline's."""

    candidate: str
    """Name of the agent that is judged."""
    baseline: str
    """Name of the agent that it is compared with."""
    goals: int
    """Paired goals."""
    margin: float
    """Difference of success rates that matters, 0 to 1."""
    success_rate: Interval | None
    """Candidate minus baseline; None for fewer than two goals."""
    no_loss_p: float
    """P-value of a loss of the margin or more; 1 for fewer than two goals."""
    no_gain_p: float
    """P-value of a gain of the margin or more."""

    @property
    def equivalence_p(self) -> float:
        """P-value of a difference of the margin or more in either direction: the larger of both (Berger 1982)."""
        return max(self.no_loss_p, self.no_gain_p)


def within_margin(
    episodes: Mapping[str, EpisodesBySeed], candidate: str, baseline: str, *, margin: float, seed: int
) -> WithinMargin:
    """Tell how surely the success of two agents differs by less than a margin.

    Each p-value is the larger one of `mean_above_test` over goals and, where an agent was trained several times, of
    resampled goals and training seeds; it is doubled, to agree with a two-sided interval.

    Args:
        episodes: agent -> its episodes by training seed.
        candidate: an agent.
        baseline: an agent.
        margin: difference of success rates, in (0, 1).
        seed: seed of the bootstrap.

    Raises:
        KeyError: an agent has no episodes.
        ValueError: the margin is no share.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, not {margin!r}")
    first, second = by_goal(episodes[candidate]), by_goal(episodes[baseline])
    shared = [goal for goal in first if goal in second]
    if len(shared) < 2:
        return WithinMargin(candidate, baseline, len(shared), margin, None, 1.0, 1.0)
    cells = [measured([goals[goal] for goal in shared], MEASURES["success_rate"]) for goals in (first, second)]
    difference = cells[0].unit_means - cells[1].unit_means
    one, other = resampled_means(cells, np.random.default_rng(seed), Clusters(len(shared), None))
    drawn = max(each.seeds for each in cells) > 1

    def p_value(sign: int) -> float:
        over_goals = mean_above_test(sign * difference, -margin, least_variance=margin * (1 - margin))
        return max(over_goals, above_p_value(sign * (one - other), -margin)) if drawn else over_goals

    interval = paired_difference(cells[0].values, cells[1].values, np.random.default_rng(seed))
    return WithinMargin(candidate, baseline, len(shared), margin, interval, p_value(1), p_value(-1))
