"""Goals: what episodes ask for, made from a catalogue's instructions, and the prices in force.

One stream of random numbers gives the prices, then the price caps; both are functions of catalogue, kind and seed. The
goals are kept as numbers and made when asked for; see `goals.columns`.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.goals.columns import column_goals
from sightline.webshop_env.goals.instructions import GoalKind
from sightline.webshop_env.goals.lists import GoalList
from sightline.webshop_env.product import Goal

_SPLITS = {
    "test": (0, 500),
    "dev": (500, 1500),
    "train": (1500, None),
    "eval": (0, 500),
    "train_and_dev": (500, None),
}


@dataclass(frozen=True)
class GoalSet:
    """Goals in their final order, with the prices they were made under."""

    goals: GoalList
    """An integer session of the shop is an index into these; `HeldGoals` makes a list of given ones."""
    prices: Mapping[str, float]
    """asin -> price in force, in dollars, for every product of the catalogue."""
    kind: GoalKind
    """Whose instructions the goals come from."""
    seed: int
    """Of prices and price caps."""

    def __len__(self) -> int:
        return len(self.goals)

    @property
    def cumulative_weights(self) -> Sequence[float]:
        """Running sum of the goals' weights."""
        return self.goals.cumulative_weights


def build_goals(catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalSet:
    """Make every goal that a catalogue offers.

    Those of a stored catalogue are kept in files inside its folder, in `goals/`, so that they are made once and
    every process maps them. Where nothing can be written, they are made in memory each time.

    Args:
        catalogue: whose products and instructions.
        kind: `human` for requests written by people, `synthetic` for generated ones.
        seed: seed of prices and price caps.

    Raises:
        GoalError: an unknown kind, or the catalogue has no instruction of this kind, or too many combinations.
        CatalogueError: the files of a stored catalogue or of its goals are damaged.
    """
    if kind not in get_args(GoalKind):
        raise GoalError(f"no goals of kind {kind!r}; kinds are {', '.join(map(repr, get_args(GoalKind)))}")
    goals, prices = column_goals(catalogue, kind, seed)
    return GoalSet(goals, prices, kind, seed)


def draw_goal(goals: GoalSet, rng: random.Random, within: range | None = None) -> int:
    """Draw the index of a goal with probability proportional to its weight.

    Args:
        goals: goals to draw from.
        rng: advanced once.
        within: draw only from these neighbouring indices; from all when None.

    Raises:
        GoalError: there is nothing to draw.
    """
    start, stop = (0, len(goals)) if within is None else (within.start, within.stop)
    if not 0 <= start < stop <= len(goals):
        raise GoalError(f"there are no goals {start} to {stop} to draw from: there are {len(goals)}")
    sums = goals.cumulative_weights
    before = sums[start - 1] if start else 0.0
    return bisect_right(sums, before + rng.random() * (sums[stop - 1] - before), start, stop - 1)


def filter_goals(goals: GoalSet, keep: Callable[[int, Goal], bool]) -> GoalSet:
    """Keep the goals for which `keep(index, goal)` is true, in their order."""
    return _take(goals, [index for index, goal in enumerate(goals.goals) if keep(index, goal)])


def _take(goals: GoalSet, indices: Sequence[int]) -> GoalSet:
    return replace(goals, goals=goals.goals.take(indices))


def limit_goals(goals: GoalSet, count: int, rng: random.Random) -> GoalSet:
    """Cut a goal list down by weighted sampling without replacement; the goals kept stay in their order.

    The sample is that of drawing goals one after the other, each time by weight among those left: the smallest of
    exponential variates of rate `weight` (Efraimidis and Spirakis, 2006).

    Args:
        goals: goals to sample from; returned as it is where it holds no more than `count`.
        count: number of goals to keep.
        rng: advanced once per goal.

    Raises:
        GoalError: `count` is less than 1.
    """
    if count < 1:
        raise GoalError(f"a goal list needs at least one goal, not {count!r}")
    if count >= len(goals):
        return goals
    arrivals = [rng.expovariate(1.0) / weight for weight in goals.goals.weights]
    return _take(goals, sorted(sorted(range(len(goals)), key=arrivals.__getitem__)[:count]))


def split_indices(name: str, count: int) -> range:
    """Return indices of a named split; there are two conventions for human goals, and this knows both.

    Args:
        name: `test` (the first 500 goals), `dev` (the next 1,000) or `train` (the rest), as the original and RAGEN
            divide them; `eval` (the first 500) or `train_and_dev` (the rest), as verl-agent does.
        count: number of goals.

    Raises:
        GoalError: an unknown name, or the split is empty because there are too few goals.
    """
    if name not in _SPLITS:
        raise GoalError(f"no split {name[:80]!r}; splits are {', '.join(map(repr, _SPLITS))}")
    start, stop = _SPLITS[name]
    if start >= count:
        raise GoalError(f"split {name!r} is empty: it begins at goal {start}, and there are only {count}")
    return range(start, count if stop is None else min(stop, count))
