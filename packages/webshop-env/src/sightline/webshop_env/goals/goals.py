"""Goals: what episodes ask for, made from a catalogue's instructions, and the prices in force.

One stream of random numbers gives the prices, then the price caps; both are functions of catalogue, kind and seed. The
goals of a catalogue in memory are in memory; those of a stored one are made when asked for.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import get_args

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.goals.instructions import (
    GoalKind,
    goal_rows,
    make_goal,
    no_goals,
    price_in_force,
    shuffle_goals,
)
from sightline.webshop_env.goals.stored import StoredGoals, stored_goals
from sightline.webshop_env.product import Goal

_SPLITS = {"test": (0, 500), "dev": (500, 1500), "train": (1500, None)}


@dataclass(frozen=True)
class GoalSet:
    """Goals in their final order, with the prices they were made under.

    Attributes:
        goals: an integer session of the shop is an index into these.
        prices: asin -> price in force, in dollars, for every product of the catalogue.
        kind: whose instructions the goals come from.
        seed: of prices and price caps.
    """

    goals: Sequence[Goal]
    prices: Mapping[str, float]
    kind: GoalKind
    seed: int

    def __len__(self) -> int:
        return len(self.goals)

    @property
    def cumulative_weights(self) -> Sequence[float]:
        """Running sum of the goals' weights."""
        return self.goals.cumulative_weights if isinstance(self.goals, StoredGoals) else self._sums

    @cached_property
    def _sums(self) -> tuple[float, ...]:
        return tuple(accumulate(goal.weight for goal in self.goals))


def build_goals(catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalSet:
    """Make every goal that a catalogue offers.

    Those of a stored catalogue are kept in files inside its folder, in `goals/`, so that they are made once and
    every process maps them. Where nothing can be written, they are made in memory each time.

    Args:
        catalogue: whose products and instructions.
        kind: `human` for requests written by people, `synthetic` for generated ones.
        seed: seed of prices (see `draw_prices`) and price caps.

    Raises:
        GoalError: an unknown kind, or the catalogue has no instruction of this kind, or too many combinations.
        CatalogueError: the files of a stored catalogue or of its goals are damaged.
    """
    if kind not in get_args(GoalKind):
        raise GoalError(f"no goals of kind {kind!r}; kinds are {', '.join(map(repr, get_args(GoalKind)))}")
    if catalogue.folder is not None:
        goals, stored_prices = stored_goals(catalogue, kind, seed)
        return GoalSet(goals, stored_prices, kind, seed)
    rng = random.Random(seed)
    prices = draw_prices(catalogue, rng)
    rows = list(goal_rows(catalogue, kind, list(prices.values()), rng))
    if not rows:
        raise no_goals(len(catalogue), kind)
    shuffle_goals(rows)
    return GoalSet(tuple(make_goal(catalogue[row.position], kind, row) for row in rows), prices, kind, seed)


def draw_prices(catalogue: Catalogue, rng: random.Random) -> dict[str, float]:
    """Fix the price in force of every product, in catalogue order.

    Args:
        catalogue: the products.
        rng: advanced once per price range, which is drawn from uniformly.

    Returns:
        asin -> dollars.
    """
    return {product.asin: price_in_force(product, rng) for product in catalogue}


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
    listed = goals.goals
    kept = listed.take(indices) if isinstance(listed, StoredGoals) else tuple(listed[index] for index in indices)
    return replace(goals, goals=kept)


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
    listed = goals.goals
    weights = listed.weights if isinstance(listed, StoredGoals) else [goal.weight for goal in listed]
    arrivals = [rng.expovariate(1.0) / weight for weight in weights]
    return _take(goals, sorted(sorted(range(len(goals)), key=arrivals.__getitem__)[:count]))


def split_indices(name: str, count: int) -> range:
    """Return indices of a named split, by the convention of the literature for human goals.

    Args:
        name: `test` (the first 500 goals), `dev` (the next 1,000) or `train` (the rest).
        count: number of goals.

    Raises:
        GoalError: an unknown name, or the split is empty because there are too few goals.
    """
    if name not in _SPLITS:
        raise GoalError(f"no split {name!r}; splits are {', '.join(map(repr, _SPLITS))}")
    start, stop = _SPLITS[name]
    if start >= count:
        raise GoalError(f"split {name!r} is empty: it begins at goal {start}, and there are only {count}")
    return range(start, count if stop is None else min(stop, count))
