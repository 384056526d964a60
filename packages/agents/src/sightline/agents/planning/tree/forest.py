"""Many search trees of equal size as flat arrays: one for each root, in step with each other.

Letters in shapes: B roots, M nodes of each, A actions. Nodes are numbered through all roots, edges through all nodes:
node = root * M + place, edge = node * A + action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree.puct import LEAST_PRIOR
from sightline.agents.planning.worlds.model import States, unusable

MISSING = -1
END = -2  # a child in which the world has ended: it needs no node

_EDGE_BYTES = 4 + 8 * 8  # visits; q, prior, logits, bonus, child, reward, discount, and a copy at work
_NODE_BYTES = 10 * 8
_COPIED = (
    "node_visits", "value", "raw", "best", "open", "visits", "q", "prior", "logits", "bonus", "reward", "discount",
)  # fmt: skip


class StateStore:
    """The states of all nodes: arrays where a batch is a tuple of arrays, else a list."""

    def __init__(self, like: States, size: int) -> None:
        self._arrays: tuple[NDArray[Any], ...] | None = None
        self._objects: list[Any] = []
        if isinstance(like, tuple):
            self._arrays = tuple(np.zeros((size, *array.shape[1:]), array.dtype) for array in like)
        else:
            self._objects = [None] * size

    def put(self, nodes: NDArray[np.int64], states: States) -> None:
        """Keep the states of these nodes."""
        if self._arrays is None:
            for node, state in zip(nodes.tolist(), states, strict=True):
                self._objects[node] = state
            return
        for kept, array in zip(self._arrays, states, strict=True):
            kept[nodes] = array

    def take(self, nodes: NDArray[np.int64]) -> States:
        """Return the states of these nodes, as a batch."""
        if self._arrays is None:
            return [self._objects[node] for node in nodes.tolist()]
        return tuple(array[nodes] for array in self._arrays)


@dataclass(slots=True)
class Forest:
    """The arrays; see the module."""

    roots: int
    """B."""
    size: int
    """M."""
    width: int
    """A."""
    states: StateStore
    """States of all nodes."""
    used: NDArray[np.int64]
    """int64 `[B]` nodes of each root in use."""
    node_visits: NDArray[np.int64]
    """int64 `[B M]` simulations through a node, its own first one included."""
    value: NDArray[np.float64]
    """`[B M]` mean value for the side to move."""
    raw: NDArray[np.float64]
    """`[B M]` the evaluator's value."""
    best: NDArray[np.float64]
    """`[B M]` the best exact value among its actions, -inf without one."""
    open: NDArray[np.int64]
    """int64 `[B M]` legal actions whose value is not exact."""
    parent_edge: NDArray[np.int64]
    """int64 `[B M]`; -1 at roots."""
    next_edge: NDArray[np.int64]
    """int64 `[B M]` the edge that the next simulation takes from here."""
    visits: NDArray[np.int32]
    """int32 `[B M, A]` simulations through an edge."""
    q: NDArray[np.float64]
    """`[B M, A]` mean value of an edge for the side to move, exact where closed, NaN where not visited."""
    prior: NDArray[np.float64]
    """`[B M, A]`."""
    logits: NDArray[np.float64]
    """`[B M, A]`, -inf where illegal."""
    bonus: NDArray[np.float64]
    """`[B M, A]` PUCT: prior / (1 + visits); Gumbel: 0; -inf where illegal or closed."""
    child: NDArray[np.int64]
    """int64 `[B M, A]` node, `MISSING` or `END`."""
    reward: NDArray[np.float64]
    """`[B M, A]`."""
    discount: NDArray[np.float64]
    """`[B M, A]`."""

    @classmethod
    def empty(cls, roots: int, size: int, width: int, like: States) -> Forest:
        """Return a forest without nodes.

        Args:
            roots: B.
            size: M.
            width: A.
            like: some states, for the kind of storage.
        """
        nodes = roots * size
        return cls(
            roots,
            size,
            width,
            StateStore(like, nodes),
            used=np.zeros(roots, np.int64),
            node_visits=np.zeros(nodes, np.int64),
            value=np.zeros(nodes),
            raw=np.zeros(nodes),
            best=np.full(nodes, -np.inf),
            open=np.zeros(nodes, np.int64),
            parent_edge=np.full(nodes, -1),
            next_edge=np.zeros(nodes, np.int64),
            visits=np.zeros((nodes, width), np.int32),
            q=np.full((nodes, width), np.nan),
            prior=np.zeros((nodes, width)),
            logits=np.full((nodes, width), -np.inf),
            bonus=np.full((nodes, width), -np.inf),
            child=np.full((nodes, width), MISSING),
            reward=np.zeros((nodes, width)),
            discount=np.zeros((nodes, width)),
        )

    def root_nodes(self) -> NDArray[np.int64]:
        """int64 `[B]`."""
        return np.arange(self.roots, dtype=np.int64) * self.size

    def enter(
        self,
        nodes: NDArray[np.int64],
        states: States,
        logits: NDArray[Any],
        value: NDArray[Any],
        legal: NDArray[np.bool_],
        *,
        tie_noise: NDArray[np.float64] | None,
        bonus_of_prior: bool,
    ) -> None:
        """Write new nodes.

        Args:
            nodes: int64 `[n]`.
            states: states of these nodes.
            logits: `[n, A]`.
            value: `[n]`.
            legal: `[n, A]`, an action at least in each row.
            tie_noise: `[n, A]` added to the logits.
            bonus_of_prior: whether an open edge's bonus begins as its prior, or is 0.

        Raises:
            EvaluatorError: the logits or values are not finite.
        """
        masked = np.where(legal, logits, -np.inf)
        if tie_noise is not None:
            masked += tie_noise
        highest = masked.max(axis=1, keepdims=True)
        if not np.isfinite(highest).all() or not np.isfinite(value).all():
            raise unusable(logits, value, legal)
        prior = np.exp(masked - highest)
        prior /= prior.sum(axis=1, keepdims=True)
        np.maximum(prior, LEAST_PRIOR, out=prior)
        self.prior[nodes], self.logits[nodes] = prior, masked
        self.bonus[nodes] = np.where(legal, prior if bonus_of_prior else 0.0, -np.inf)
        self.raw[nodes] = self.value[nodes] = value
        self.node_visits[nodes] = 1
        self.open[nodes] = legal.sum(axis=1)
        self.states.put(nodes, states)

    def close(self, leaves: NDArray[np.int64], upper: float) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Pass exact values up from leaf edges behind which the world ended: the edges closed, and their values.

        An edge closes where the world ended behind it or its node's value is exact; a node's value is exact where all
        its edges are closed, or one of them reaches the upper bound.

        Args:
            leaves: int64, one edge of each tree at most.
            upper: value that cannot be bettered.
        """
        edges = leaves[self.child.reshape(-1)[leaves] == END]
        worth = np.zeros(len(edges))
        closed = []
        while edges.size:
            exact = self.reward.reshape(-1)[edges] + self.discount.reshape(-1)[edges] * worth
            closed.append((edges, exact))
            nodes = edges // self.width
            self.open[nodes] -= 1
            self.best[nodes] = best = np.maximum(self.best[nodes], exact)
            certain = (self.open[nodes] == 0) | (best >= upper)
            upward = np.flatnonzero(certain & (self.parent_edge[nodes] >= 0))
            edges, worth = self.parent_edge[nodes[upward]], best[upward]
        return closed

    def exhausted(self, upper: float) -> NDArray[np.bool_]:
        """Bool `[B]`: roots whose value is exact."""
        roots = self.root_nodes()
        best = self.best[roots]
        return (best > -np.inf) & ((self.open[roots] == 0) | (best >= upper))

    def below(self, actions: NDArray[np.int64], room: int) -> Forest:
        """Return the subtrees below one action of each root, in a forest with room for more nodes of each.

        Args:
            actions: int64 `[B]`; each leads to a node of the tree.
            room: M of the new forest at least holds the largest kept subtree and so many nodes more.

        Raises:
            ValueError: an action was not visited or ends the world.
        """
        starts = self.child[self.root_nodes(), actions]
        if (starts < 0).any():
            row = int(np.flatnonzero(starts < 0)[0])
            raise ValueError(f"action {actions[row]} of root {row} leads to no node; search from its state anew")
        kept, owner, parent_edge = self._descendants(starts)
        places = _places(owner, self.roots)
        size = int(places.max()) + 1 + room
        new = Forest.empty(self.roots, size, self.width, self.states.take(starts))
        nodes = owner * size + places
        new.states.put(nodes, self.states.take(kept))
        np.maximum.at(new.used, owner, places + 1)
        for name in _COPIED:
            getattr(new, name)[nodes] = getattr(self, name)[kept]
        number = np.full(self.roots * self.size, MISSING)
        number[kept] = nodes
        child = self.child[kept]
        new.child[nodes] = np.where(child >= 0, number[child], child)
        inner = parent_edge >= 0
        edges = number[parent_edge[inner] // self.width] * self.width + parent_edge[inner] % self.width
        new.parent_edge[nodes[inner]] = edges
        return new

    def _descendants(self, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """All nodes from these on, one start of each root: (nodes, their roots, their parent edges, -1 at starts)."""
        levels, owners = [starts], [np.arange(self.roots)]
        edges = [np.full(self.roots, -1)]
        while levels[-1].size:
            children = self.child[levels[-1]]
            rows, actions = np.nonzero(children >= 0)
            levels.append(children[rows, actions])
            edges.append(levels[-2][rows] * self.width + actions)
            owners.append(owners[-1][rows])
        return np.concatenate(levels), np.concatenate(owners), np.concatenate(edges)


def bytes_needed(roots: int, size: int, width: int) -> int:
    """Return bytes that a forest takes, states aside."""
    return roots * size * (width * _EDGE_BYTES + _NODE_BYTES)


def _places(owner: NDArray[np.int64], roots: int) -> NDArray[np.int64]:
    """Return the place of every item among those of its owner, in order; starts come first."""
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=roots)
    begin = np.cumsum(counts) - counts
    places = np.empty(len(owner), np.int64)
    places[order] = np.arange(len(owner)) - begin[owner[order]]
    return places
