"""Searches many trees in step: each simulation visits one leaf of every root, and all leaves are judged at once.

Iterative throughout. An action's score changes only when its node is visited, so each node keeps the action that it
will take next, and all nodes of all paths are scored in one go. `scalar` is the same search, one root at a time.
Letters in shapes: B roots, n of them active, A actions.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree import noise
from sightline.agents.planning.tree.forest import END, MISSING, Forest, bytes_needed
from sightline.agents.planning.tree.gumbel import OUT_OF_TURN, halving_schedule, improved_logits
from sightline.agents.planning.tree.puct import LEAST_PRIOR, exploration_table
from sightline.agents.planning.tree.result import RootStatistics, SearchResult, choose
from sightline.agents.planning.tree.settings import SearchSettings
from sightline.agents.planning.tree.trees import LockStepTree
from sightline.agents.planning.worlds.model import (
    Expansion,
    Model,
    ModelError,
    Plan,
    States,
    check_shapes,
    single,
    take,
)

logger = logging.getLogger(__name__)

Ids = NDArray[np.int64]
Numbers = NDArray[np.float64]
Stepped = tuple[States, NDArray[np.floating], NDArray[np.floating]]
_CERTAIN = 1e-9  # how near the upper bound counts as reaching it


class _Level(NamedTuple):
    """The edges that the paths of some rows take at one depth."""

    rows: Ids
    nodes: Ids
    edges: Ids


class LockStep:
    """One search over B roots; made for one call of `run`.

    Args:
        settings: how to search.
        world: what to search in.
        roots: single states, or a tree to go on from.
        seeds: uint64 `[B]` of what is random at each root.
    """

    def __init__(
        self, settings: SearchSettings, world: Model, roots: list[Any] | LockStepTree, seeds: NDArray[np.uint64]
    ) -> None:
        self._settings, self._world, self._seeds = settings, world, seeds
        self._width = world.max_actions
        self._closes = settings.closes(world)
        self._scale = settings.scale(world)
        self._minmax = settings.method == "puct" and self._scale is None
        self._upper = world.bounds[1] - _CERTAIN if world.bounds is not None else np.inf
        self._plans: list[Plan | None] = [None] * len(seeds)
        self._keeps_plans = world.players == 1 and world.deterministic
        self._errors: list[str | None] = [None] * len(seeds)
        self._low, self._high = np.full(len(seeds), np.inf), np.full(len(seeds), -np.inf)
        self._tie_noise = noise.tie_breaks(seeds, self._width) if settings.ties == "random" else None
        if isinstance(roots, LockStepTree):
            self._tree = roots.forest
            self._resume()
        else:
            self._plant(roots)
        table = exploration_table(settings, int(self._tree.node_visits.max()) + settings.simulations + 1)
        self._exploration = table if self._scale is None else table * (self._scale[1] - self._scale[0])
        self._prepare_roots()

    def run(self) -> SearchResult:
        """Simulate and conclude."""
        tree = self._tree
        alive = self._legal_roots.any(axis=1)
        done = np.zeros(tree.roots, np.int64)
        active = np.flatnonzero(alive & ~self._tree.exhausted(self._upper))
        for simulation in range(self._settings.simulations):
            if not active.size:
                break
            if self._settings.method == "gumbel":
                self._aim_roots(active, simulation)
            active = self._simulate(active)
            done[active] += 1
            if self._closes:
                active = active[~self._tree.exhausted(self._upper)[active]]
        return self._conclude(done)

    def _simulate(self, active: Ids) -> Ids:
        """One simulation of each active root; returns those in which the world did not raise."""
        levels, leaves = self._descend(active)
        tree = self._tree
        fresh = np.flatnonzero(tree.child.reshape(-1)[leaves] == MISSING)
        stepped = self._step(active, fresh, leaves)
        if stepped is None:
            broken = np.array([self._errors[root] is not None for root in active.tolist()])
            return self._simulate(active[~broken]) if not broken.all() else active[:0]
        values = np.zeros(len(active))
        grown = self._grow(active, fresh, leaves, stepped, values, levels)
        self._back_up(active, levels, leaves, values)
        below_root = 1 if self._settings.method == "gumbel" else 0  # its root is aimed by turns
        self._aim(np.concatenate([*(level.nodes for level in levels[below_root:]), grown]))
        return active

    def _descend(self, active: Ids) -> tuple[list[_Level], Ids]:
        """Follow the next edges to leaves: (levels from the root down, leaf edge of every row)."""
        tree = self._tree
        children = tree.child.reshape(-1)
        rows, nodes = np.arange(len(active)), active * tree.size
        leaves = np.empty(len(active), np.int64)
        levels: list[_Level] = []
        while True:
            edges = tree.next_edge[nodes]
            levels.append(_Level(rows, nodes, edges))
            below = children[edges]
            on = below >= 0
            leaves[rows] = edges
            deeper = np.flatnonzero(on)
            if not deeper.size:
                return levels, leaves
            if deeper.size < len(rows):
                rows, below = rows[deeper], below[deeper]
            nodes = below

    def _step(self, active: Ids, fresh: Ids, leaves: Ids) -> Stepped | None:
        """Step the world to all new leaves; None after having noted the roots in which it raised."""
        edges = leaves[fresh]
        if not edges.size:
            return (), np.empty(0), np.empty(0)
        states, actions = self._tree.states.take(edges // self._width), edges % self._width
        try:
            return self._world.step(states, actions)
        except Exception:  # one root's trouble must not end the others': found below, and kept in the result
            for position, root in enumerate(active[fresh].tolist()):
                at = np.array([position])
                try:
                    self._world.step(take(states, at), actions[at])
                except Exception as error:
                    logger.warning("the world raised in the search of root %d: %r", root, error)
                    self._errors[root] = repr(error)
            if not any(self._errors[root] for root in active[fresh].tolist()):
                raise
            return None

    def _grow(
        self,
        active: Ids,
        fresh: Ids,
        leaves: Ids,
        stepped: Stepped,
        values: Numbers,
        levels: list[_Level],
    ) -> Ids:
        """Add nodes for new leaves in which the world goes on, and put their values in place; returns the nodes."""
        tree, edges = self._tree, leaves[fresh]
        states, rewards, discounts = stepped
        tree.reward.reshape(-1)[edges], tree.discount.reshape(-1)[edges] = rewards, discounts
        goes_on = np.flatnonzero(np.asarray(discounts) != 0)
        children = tree.child.reshape(-1)
        if goes_on.size < len(fresh):
            children[edges] = END
            states = take(states, goes_on)
            edges, fresh = edges[goes_on], fresh[goes_on]
        roots = active[fresh]
        nodes = roots * tree.size + tree.used[roots]
        expansion = None
        if nodes.size:
            expansion = self._world.expand(states)
            self._enter(nodes, states, expansion)
            tree.used[roots] += 1
            children[edges] = nodes
            tree.parent_edge[nodes] = edges
            values[fresh] = tree.raw[nodes]
        if self._keeps_plans:
            self._note_plans(active, fresh, leaves, levels, expansion)
        return nodes

    def _enter(self, nodes: Ids, states: States, expansion: Expansion) -> None:
        """Write new nodes.

        Raises:
            EvaluatorError: the expansion cannot be used.
            ModelError: a state in which the world goes on has no legal action.
        """
        legal = np.asarray(expansion.legal)
        if not legal.any(axis=1).all():
            state = single(states, int(np.flatnonzero(~legal.any(axis=1))[0]))
            raise ModelError(f"no legal action in {self._world.key(state)!r}, where the world goes on")
        self._write(nodes, states, np.asarray(expansion.logits), np.asarray(expansion.value), legal)

    def _write(
        self, nodes: Ids, states: States, logits: NDArray[Any], value: NDArray[Any], legal: NDArray[np.bool_]
    ) -> None:
        check_shapes(logits, value, (len(nodes), self._width))
        noise_here = None if self._tie_noise is None else self._tie_noise[nodes // self._tree.size]
        puct = self._settings.method == "puct"
        self._tree.enter(nodes, states, logits, value, legal, tie_noise=noise_here, bonus_of_prior=puct)

    def _back_up(self, active: Ids, levels: list[_Level], leaves: Ids, values: Numbers) -> None:
        """G <- r + g G from the leaves to the roots, and means of it at every edge and node of the paths."""
        tree = self._tree
        closed = self._tree.close(leaves, self._upper) if self._closes else None
        reward, discount = tree.reward.reshape(-1), tree.discount.reshape(-1)
        returns: list[Numbers] = []
        here: list[Numbers] = []
        for rows, nodes, edges in reversed(levels):
            through = reward[edges] + discount[edges] * values[rows]
            returns.append(through)
            # A node is worth at least what is known for certain of it.
            at_node = np.maximum(through, tree.best[nodes]) if self._closes else through
            here.append(at_node)
            values[rows] = at_node
        edges = np.concatenate([level.edges for level in reversed(levels)])
        nodes = np.concatenate([level.nodes for level in reversed(levels)])
        through, at_node = np.concatenate(returns), np.concatenate(here)
        visits, q, bonus = tree.visits.reshape(-1), tree.q.reshape(-1), tree.bonus.reshape(-1)
        number = visits[edges] + 1
        visits[edges] = number
        before = q[edges]
        q[edges] = np.where(number == 1, through, before + (through - before) / number)
        if self._settings.method == "puct":
            bonus[edges] = tree.prior.reshape(-1)[edges] / (number + 1)
        visited = tree.node_visits[nodes] + 1
        tree.node_visits[nodes] = visited
        mean = tree.value[nodes]
        tree.value[nodes] = mean + (at_node - mean) / visited
        if closed is not None:
            for edges_closed, exact in closed:
                q[edges_closed] = exact
                bonus[edges_closed] = -np.inf
        if self._minmax:
            self._widen(active, levels, q)

    def _aim(self, nodes: Ids) -> None:
        """Choose the edge that the next simulation takes from each of these nodes."""
        tree = self._tree
        if self._settings.method == "gumbel":
            score = self._gumbel_scores(nodes)
        else:
            q, unit = tree.q.take(nodes, axis=0), self._exploration[tree.node_visits[nodes]]
            if self._minmax:
                unit = unit * self._unit()[nodes // tree.size]
            fpu = self._settings.fpu
            unvisited = tree.value[nodes][:, None] if fpu == "parent" else fpu
            score = np.where(np.isnan(q), unvisited, q)
            bonus = tree.bonus.take(nodes, axis=0)
            bonus *= unit[:, None]
            score += bonus
        tree.next_edge[nodes] = nodes * self._width + score.argmax(axis=1)

    def _improved(self, nodes: Ids) -> tuple[Numbers, Numbers]:
        """Improved logits and visits of these nodes, `[A, n]` each."""
        tree = self._tree
        q, prior, logits = (
            np.ascontiguousarray(array.take(nodes, axis=0).T) for array in (tree.q, tree.prior, tree.logits)
        )
        visits = np.ascontiguousarray(tree.visits.take(nodes, axis=0).T, dtype=np.float64)
        return improved_logits(q, prior, logits, visits, tree.raw[nodes], self._scale), visits

    def _gumbel_scores(self, nodes: Ids) -> Numbers:
        """pi'(a) - n_a / (1 + N): visits follow the improved policy (the paper's equation 14)."""
        tree = self._tree
        improved, visits = self._improved(nodes)
        improved -= improved.max(axis=0)
        policy = np.exp(improved, out=improved)
        policy /= policy.sum(axis=0)
        visits /= tree.node_visits[nodes]
        policy -= visits
        return policy.T + tree.bonus.take(nodes, axis=0)

    def _aim_roots(self, active: Ids, simulation: int) -> None:
        """Gumbel: the root's next edge is the best of those whose turn it is."""
        tree, nodes = self._tree, active * self._tree.size
        improved, visits = self._improved(nodes)
        turn = self._schedule[self._considered[active], simulation]
        late = np.abs(visits - turn) * OUT_OF_TURN
        score = (improved + self._gumbel[active].T - late).T + tree.bonus.take(nodes, axis=0)
        tree.next_edge[nodes] = nodes * self._width + score.argmax(axis=1)

    def _unit(self) -> Numbers:
        """`[B]` the range of values seen in each tree; 1 while all are equal."""
        span = self._high - self._low
        return np.where(span > 0, span, 1.0)

    def _widen(self, active: Ids, levels: list[_Level], q: Numbers) -> None:
        """Take new values into the ranges, and aim anew everywhere below a root whose range has grown."""
        before = self._high[active] - self._low[active]
        for rows, _, edges in levels:
            roots, values = active[rows], q[edges]
            self._low[roots] = np.minimum(self._low[roots], values)
            self._high[roots] = np.maximum(self._high[roots], values)
        for root in active[self._high[active] - self._low[active] != before].tolist():
            self._aim(root * self._tree.size + np.arange(self._tree.used[root]))

    def _plant(self, roots: list[Any]) -> None:
        """Make the forest and its roots."""
        size = self._settings.simulations + 1
        needed = bytes_needed(len(roots), size, self._width)
        if needed > self._settings.max_memory:
            raise ValueError(
                f"{len(roots)} trees of {size} nodes and {self._width} actions need {needed:,} bytes; "
                f"max_memory is {self._settings.max_memory:,}: search fewer roots at a time or raise it"
            )
        states = self._world.pack(roots)
        self._tree = Forest.empty(len(roots), size, self._width, states)
        expansion = self._world.expand(states)
        legal = np.asarray(expansion.legal)
        going = np.flatnonzero(legal.any(axis=1))
        logits, value = np.asarray(expansion.logits), np.asarray(expansion.value)
        check_shapes(logits, value, (len(roots), self._width))
        nodes = self._tree.root_nodes()
        self._write(nodes[going], take(states, going), logits[going], value[going], legal[going])
        self._tree.used[:] = 1
        self._low[going] = self._high[going] = value[going]
        if self._keeps_plans and expansion.plans is not None:
            self._plans = list(expansion.plans)

    def _resume(self) -> None:
        """Take the ranges of a given forest."""
        tree = self._tree
        nodes = tree.root_nodes()
        if self._minmax:
            for root, node in enumerate(nodes.tolist()):
                values = np.append(tree.q[node : node + tree.used[root]], tree.raw[node])
                self._low[root], self._high[root] = np.nanmin(values), np.nanmax(values)

    def _prepare_roots(self) -> None:
        """Noise and schedules of the roots, and the first aims."""
        tree, settings = self._tree, self._settings
        nodes = tree.root_nodes()
        self._legal_roots = np.isfinite(tree.logits[nodes])
        self._gumbel = np.zeros((tree.roots, self._width))
        if settings.method == "gumbel":
            self._considered = np.minimum(settings.considered, self._legal_roots.sum(axis=1))
            self._schedule = halving_schedule(min(settings.considered, self._width), settings.simulations)
            if settings.explore:
                self._gumbel = noise.gumbel(self._seeds, self._width)
        elif settings.explore:
            share = settings.noise_share
            prior = (1 - share) * tree.prior[nodes] + share * noise.dirichlet(self._seeds, self._legal_roots)
            tree.prior[nodes] = np.maximum(prior, LEAST_PRIOR)
            open_edges = tree.bonus[nodes] > -np.inf
            tree.bonus[nodes] = np.where(open_edges, tree.prior[nodes] / (tree.visits[nodes] + 1), -np.inf)
        going = np.flatnonzero(self._legal_roots.any(axis=1))
        planted = np.concatenate([nodes[root] + np.arange(tree.used[root]) for root in going] or [going])
        self._aim(planted)

    def _note_plans(
        self, active: Ids, fresh: Ids, leaves: Ids, levels: list[_Level], expansion: Expansion | None
    ) -> None:
        """Keep the best way to an end that a simulation saw: its own path, or one that the evaluator followed on."""
        tree = self._tree
        for row in np.flatnonzero(tree.child.reshape(-1)[leaves] == END).tolist():
            self._note_plan(active[row], row, levels, Plan((), 0.0))
        if expansion is not None and expansion.plans is not None:
            for row, plan in zip(fresh.tolist(), expansion.plans, strict=True):
                if plan is not None:
                    self._note_plan(active[row], row, levels, plan)

    def _note_plan(self, root: int, row: int, levels: list[_Level], rest: Plan) -> None:
        tree = self._tree
        actions: list[int] = []
        worth = rest.value
        for rows, _, edges in reversed(levels):
            at = np.searchsorted(rows, row)
            if at < len(rows) and rows[at] == row:
                edge = int(edges[at])
                actions.append(edge % self._width)
                worth = tree.reward.flat[edge] + tree.discount.flat[edge] * worth
        kept = self._plans[root]
        if kept is None or worth > kept.value:
            self._plans[root] = Plan((*reversed(actions), *rest.actions), float(worth))

    def _conclude(self, done: Ids) -> SearchResult:
        tree = self._tree
        nodes = tree.root_nodes()
        exhausted = tree.exhausted(self._upper) if self._closes else np.zeros(tree.roots, bool)
        visits, q = tree.visits[nodes].astype(np.int64), tree.q[nodes]
        value = np.where(exhausted, tree.best[nodes], tree.value[nodes])
        closed = self._legal_roots & (tree.bonus[nodes] == -np.inf)
        statistics = RootStatistics(
            visits, q, closed, self._legal_roots, tree.logits[nodes], tree.prior[nodes], self._gumbel,
            tree.raw[nodes], value, exhausted,
        )  # fmt: skip
        action, policy = choose(statistics, self._settings, self._scale)
        return SearchResult(
            action, policy, value, visits, q, exhausted, done, tuple(self._plans), tuple(self._errors),
            LockStepTree(tree, self._world, self._settings),
        )  # fmt: skip
