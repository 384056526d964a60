"""Episodes put in order for statistics: by goal and training seed, without those that an error broke off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from sightline.agents.evaluation.bootstrap import Cells
from sightline.agents.trajectory import Trajectory

EpisodesBySeed: TypeAlias = Sequence[Sequence[Trajectory]]
"""An agent's episodes, one sequence for each of its training seeds; a single one where nothing was trained."""

GoalEpisodes: TypeAlias = Sequence[Sequence[Trajectory]]
"""The episodes of one goal without error, one sequence for each training seed; none, one or several in each."""

Measure = Callable[[Trajectory], float]

MEASURES: Mapping[str, Measure] = {
    "success_rate": lambda trajectory: float(trajectory.success),
    "mean_reward": lambda trajectory: trajectory.total_reward,
    "steps": lambda trajectory: len(trajectory.steps),
    "prompt_tokens": lambda trajectory: sum(step.prompt_tokens for step in trajectory.steps),
    "completion_tokens": lambda trajectory: sum(step.completion_tokens for step in trajectory.steps),
}
"""What is measured of an episode."""


def by_goal(episodes: EpisodesBySeed) -> Mapping[int, GoalEpisodes]:
    """Return goal -> its episodes, in the order in which goals occur; goals without any are left out.

    Raises:
        TypeError: the episodes do not come by training seed.
    """
    found: dict[int, list[list[Trajectory]]] = {}
    for position, of_seed in enumerate(episodes):
        if isinstance(of_seed, Trajectory):
            raise TypeError("episodes come by training seed: give [episodes], or one sequence for each training seed")
        for episode in of_seed:
            if episode.error is None:
                found.setdefault(episode.goal, [[] for _ in episodes])[position].append(episode)
    return found


def measured(goals: Iterable[GoalEpisodes], measure: Measure) -> Cells:
    """Return the means of a measure over the episodes of every goal and training seed."""
    rows = list(goals)
    values = [[float(_mean(episodes, measure)) if episodes else 0.0 for episodes in goal] for goal in rows]
    return Cells.of(values, [[len(episodes) for episodes in goal] for goal in rows])


def exact_mean(goal: GoalEpisodes, measure: Measure) -> Fraction:
    """Return the mean of a measure over all episodes of a goal, exactly."""
    return _mean([episode for of_seed in goal for episode in of_seed], measure)


def _mean(episodes: Sequence[Trajectory], measure: Measure) -> Fraction:
    return sum((Fraction(measure(episode)) for episode in episodes), Fraction()) / len(episodes)
