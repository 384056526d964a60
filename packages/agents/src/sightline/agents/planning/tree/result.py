"""What a search found, and how the action is chosen from what it knows of its roots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree.gumbel import improved_logits
from sightline.agents.planning.tree.settings import SearchSettings
from sightline.agents.planning.tree.trees import Tree
from sightline.agents.planning.worlds.model import Plan


@dataclass(frozen=True, slots=True)
class RootStatistics:
    """What B roots know of their A actions."""

    visits: NDArray[np.int64]
    """int64 `[B, A]`."""
    q: NDArray[np.float64]
    """`[B, A]` mean value for the side to move, exact for closed actions, NaN for unvisited ones."""
    closed: NDArray[np.bool_]
    """Bool `[B, A]`; actions whose value is exact."""
    legal: NDArray[np.bool_]
    """Bool `[B, A]`."""
    logits: NDArray[np.float64]
    """`[B, A]`, -inf at illegal actions."""
    prior: NDArray[np.float64]
    """`[B, A]` their softmax."""
    gumbel: NDArray[np.float64]
    """`[B, A]` noise of the Gumbel method; 0 where it does not explore."""
    raw: NDArray[np.float64]
    """`[B]` the evaluator's value."""
    value: NDArray[np.float64]
    """`[B]` mean value."""
    exhausted: NDArray[np.bool_]
    """Bool `[B]`; roots whose value is exact."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One row for each of B roots."""

    action: NDArray[np.int64]
    """int64 `[B]` the best action; -1 where there is none."""
    policy: NDArray[np.float64]
    """`[B, A]` what a policy should learn: shares of the visits (PUCT) or the improved policy (Gumbel); all on the
    chosen action where that one's value is exact."""
    value: NDArray[np.float64]
    """`[B]` for the side to move: mean of all simulations, or exact."""
    visits: NDArray[np.int64]
    """int64 `[B, A]` simulations through each action."""
    q: NDArray[np.float64]
    """`[B, A]` value of each action for the side to move; NaN where not visited."""
    exhausted: NDArray[np.bool_]
    """Bool `[B]` whether the value is exact: every line was searched, or one that cannot be bettered."""
    simulations: NDArray[np.int64]
    """int64 `[B]` simulations done."""
    plans: tuple[Plan | None, ...]
    """Best way to the end that was seen from every root; None without one. Only in deterministic worlds of one player,
    where it can simply be followed."""
    errors: tuple[str | None, ...]
    """What the world raised in every root, after which that root's search stopped; or None."""
    tree: Tree
    """Tree to go on from by its `advance`."""


def choose(
    roots: RootStatistics, settings: SearchSettings, scale: tuple[float, float] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the best action of every root and its policy: (`[B]`, `[B, A]`); see `SearchResult`."""
    if settings.method == "gumbel":
        improved = improved_logits(
            roots.q.T, roots.prior.T, roots.logits.T, roots.visits.T.astype(np.float64), roots.raw, scale
        ).T
        with np.errstate(invalid="ignore"):  # a root without legal actions has no finite logit
            weights = np.exp(improved - improved.max(axis=1, keepdims=True))
        order = improved + roots.gumbel
    else:
        weights, order = roots.visits.astype(np.float64), np.where(np.isnan(roots.q), -np.inf, roots.q)
    favourite = _best_open(roots, order)
    action = _closed_if_as_good(roots, favourite)
    with np.errstate(invalid="ignore"):
        policy = weights / weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(action))
    certain = roots.closed[rows, action] | ~(weights.sum(axis=1) > 0)
    policy[certain] = 0.0
    policy[rows[certain], action[certain]] = 1.0
    over = ~roots.legal.any(axis=1)
    policy[over] = 0.0
    return np.where(over, -1, action), policy


def _best_open(roots: RootStatistics, order: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the open action with most visits, of those the highest in order, then the likeliest; -1 without any."""
    candidates = roots.legal & ~roots.closed
    for key in (roots.visits.astype(np.float64), order, roots.logits):
        most = np.where(candidates, key, -np.inf).max(axis=1, keepdims=True)
        candidates &= key >= most
    return np.where(candidates.any(axis=1), candidates.argmax(axis=1), -1)


def _closed_if_as_good(roots: RootStatistics, favourite: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the best closed action where its exact value is at least the favourite's, else the favourite.

    An unvisited favourite is taken to be worth what its root is; where that value is exact, a closed action has it.
    """
    exact = np.where(roots.closed, roots.q, -np.inf)
    best = exact.max(axis=1)
    ties = roots.closed & (exact >= best[:, None])
    closed = np.where(ties, roots.logits, -np.inf).argmax(axis=1)
    theirs = roots.q[np.arange(len(favourite)), favourite]
    theirs = np.where(np.isnan(theirs), roots.value, theirs)
    better = ties.any(axis=1) & ((favourite < 0) | roots.exhausted | (best >= theirs))
    return np.where(better, closed, np.maximum(favourite, 0))
