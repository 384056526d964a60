"""Searches one tree in plain Python: for worlds whose steps cost more than the tree, and as the readable reference.

The same search as `lockstep`, number for number; besides, it can judge several leaves together and share nodes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree import noise
from sightline.agents.planning.tree.gumbel import OUT_OF_TURN, halving_schedule, improved_logits_of_one
from sightline.agents.planning.tree.node import EDGE_BYTES, NODE_BYTES, Node
from sightline.agents.planning.tree.puct import LEAST_PRIOR, exploration_table, softmax
from sightline.agents.planning.tree.result import RootStatistics, SearchResult, choose
from sightline.agents.planning.tree.settings import SearchSettings
from sightline.agents.planning.tree.trees import ScalarTree
from sightline.agents.planning.worlds.model import Model, ModelError, Plan
from sightline.agents.planning.worlds.serial import serial

_CLOSED = -math.inf
_CERTAIN = 1e-9  # how near the upper bound counts as reaching it


Path = list[tuple[Node, int]]


class Scalar:
    """One search from one root; made for one call of `run`.

    Args:
        settings: how to search.
        world: what to search in.
        root: a single state, or a tree to go on from.
        seed: seed of what is random.
    """

    def __init__(self, settings: SearchSettings, world: Model, root: Any | ScalarTree, seed: int) -> None:
        self._settings, self._world, self._serial = settings, world, serial(world)
        self._seed = noise.as_seeds([seed])
        self._width = world.max_actions
        self._closes = settings.closes(world)
        self._scale = settings.scale(world)
        self._minmax = settings.method == "puct" and self._scale is None
        self._upper = world.bounds[1] - _CERTAIN if world.bounds is not None else math.inf
        self._plan: Plan | None = None
        self._keeps_plans = world.players == 1 and world.deterministic
        self._shared: dict[Hashable, Node] = {}
        self._tie_noise = noise.tie_breaks(self._seed, self._width)[0] if settings.ties == "random" else None
        self._fpu = None if settings.fpu == "parent" else float(settings.fpu)
        self._low = self._high = 0.0
        self._root = root.root if isinstance(root, ScalarTree) else self._plant(root)
        self._low, self._high = _value_range(self._root) if isinstance(root, ScalarTree) else (self._root.raw,) * 2
        table = exploration_table(settings, self._root.total + settings.simulations + settings.leaves_per_step)
        self._exploration = (table if self._scale is None else table * (self._scale[1] - self._scale[0])).tolist()
        self._gumbel = [0.0] * len(self._root.legal)
        self._prepare_root()

    def run(self) -> SearchResult:
        """Simulate and conclude."""
        budget, done = self._settings.simulations, 0
        while done < budget and self._root.legal and not self._is_certain(self._root):
            if (room := min(self._settings.leaves_per_step, budget - done)) == 1:
                self._simulate(done)
                done += 1
            else:
                done += self._simulate_together(room)
        return self._conclude(done)

    # ------------------------------------------------------------------ one simulation

    def _simulate(self, simulation: int) -> None:
        path = self._descend(simulation)
        node, at = path[-1]
        if self._is_known(node, at):
            self._arrive_at_known(path)
        else:
            self._arrive([path], self._serial.step([node.state], [node.legal[at]]))

    def _simulate_together(self, room: int) -> int:
        """Up to so many simulations whose leaves are judged together; returns how many."""
        paths = self._collect(room)
        fresh = [path for path in paths if not self._is_known(*path[-1])]
        for path in paths:
            if self._is_known(*path[-1]):
                self._arrive_at_known(path)
        ends = [path[-1] for path in fresh]
        steps = self._serial.step([node.state for node, _ in ends], [node.legal[at] for node, at in ends])
        self._arrive(fresh, steps)
        return len(paths)

    def _collect(self, room: int) -> list[Path]:
        """Return paths to different leaves.

        Paths already taken count as visits without a value, so that later ones look elsewhere; a leaf met twice ends
        the collection.
        """
        paths: list[Path] = []
        while len(paths) < room:
            path = self._descend(0)
            if any(path[-1] == other[-1] for other in paths):
                break
            paths.append(path)
            self._count(path, 1)
        for path in paths:
            self._count(path, -1)
        return paths

    def _count(self, path: Path, visits: int) -> None:
        """Add visits without a value to a path, or take them away."""
        for node, at in path:
            node.visits[at] += visits
            node.total += visits
            if node.bonus[at] > _CLOSED:
                node.bonus[at] = node.prior[at] / (1 + node.visits[at])

    def _is_known(self, node: Node, at: int) -> bool:
        """Whether an action that ends a path leads to a known end, or to a shared node of exact value."""
        return node.child[at] is not None or (node.visits[at] > 0 and node.discount[at] == 0.0)

    def _arrive_at_known(self, path: Path) -> None:
        node, at = path[-1]
        child = node.child[at]
        self._back_up(path, child.best if child is not None else 0.0, exact=self._closes)

    def _arrive(self, paths: list[Path], steps: list[tuple[Any, float, float]]) -> None:
        """Judge the states that new leaves lead to, and pass their values up."""
        going: list[tuple[Path, Any]] = []
        for path, (state, reward, discount) in zip(paths, steps, strict=True):
            node, at = path[-1]
            node.reward[at], node.discount[at] = reward, discount
            if discount == 0.0:
                self._back_up(path, 0.0, exact=self._closes)
                self._note_plan(path, Plan((), 0.0))
            elif not (self._settings.share_nodes and self._share(path, state)):
                going.append((path, state))
        if not going:
            return
        judgements = self._serial.expand([state for _, state in going])
        for (path, state), judgement in zip(going, judgements, strict=True):
            if self._settings.share_nodes and len(going) > 1 and self._share(path, state):
                continue
            if not judgement.legal:
                raise ModelError(f"no legal action in {self._world.key(state)!r}, where the world goes on")
            node, at = path[-1]
            node.child[at] = child = Node(state, judgement, self._tie_noise)
            if self._settings.share_nodes:
                self._shared[self._world.key(state)] = child
            self._back_up(path, child.value, exact=False)
            if judgement.plan is not None:
                self._note_plan(path, judgement.plan)

    def _share(self, path: Path, state: Any) -> bool:
        """Put an existing node of the same state behind a path; False where there is none.

        Raises:
            ModelError: the state is one that the path came through.
        """
        key = self._world.key(state)
        child = self._shared.get(key)
        if child is None:
            return False
        if any(node is child for node, _ in path):
            raise ModelError(f"the world returns to {key!r}; share_nodes needs a world without cycles")
        node, at = path[-1]
        node.child[at] = child
        certain = self._is_certain(child)
        self._back_up(path, child.best if certain else child.value, exact=certain)
        return True

    # ------------------------------------------------------------------ values go back

    def _back_up(self, path: Path, value: float, *, exact: bool) -> None:
        """G <- r + g G from a leaf to the root, and means of it at every action and node of the path.

        Args:
            path: path from the root to the leaf.
            value: value of the state that the path leads to.
            exact: whether that is its exact value. Then the action's is too and the action closes; and so on upward
                where a node has no open action left, or an action that reaches the upper bound.
        """
        worth = value
        for node, at in reversed(path):
            reward, discount = node.reward[at], node.discount[at]
            through = reward + discount * value
            number = node.visits[at] + 1
            node.visits[at] = number
            if exact:
                self._close(node, at, reward + discount * worth)
            elif node.bonus[at] > _CLOSED:
                node.q[at] = through if number == 1 else node.q[at] + (through - node.q[at]) / number
                node.bonus[at] = node.prior[at] / (number + 1)
            # A node is worth at least what is known for certain of it.
            value = max(through, node.best) if self._closes else through
            node.total += 1
            node.value += (value - node.value) / node.total
            if exact:
                worth, exact = node.best, self._is_certain(node)
        if self._minmax:
            values = [node.q[at] for node, at in path]
            self._low, self._high = min(self._low, *values), max(self._high, *values)

    def _close(self, node: Node, at: int, worth: float) -> None:
        """Take an action of exact value out of the search; leaves judged together may bring the same news twice."""
        if node.bonus[at] > _CLOSED:
            node.q[at] = worth
            node.bonus[at] = _CLOSED
            node.open.remove(at)
            node.best = max(node.best, worth)

    def _is_certain(self, node: Node) -> bool:
        """Whether a node's value is exact."""
        return self._closes and node.best > -math.inf and (not node.open or node.best >= self._upper)

    # ------------------------------------------------------------------ where to go next

    def _descend(self, simulation: int) -> Path:
        """Return the path from the root to an action without a node behind it."""
        node, path = self._root, []
        at = self._select_root(simulation) if self._settings.method == "gumbel" else self._select(node)
        while True:
            path.append((node, at))
            child = node.child[at]
            # A shared node may have become certain on another way.
            if child is None or (self._settings.share_nodes and self._is_certain(child)):
                return path
            node = child
            at = self._select(node)

    def _select(self, node: Node) -> int:
        """Position of the action that the next simulation takes below the root."""
        if self._settings.method == "gumbel":
            return self._select_gumbel(node)
        unit = self._exploration[node.total]
        if self._minmax:
            unit *= (self._high - self._low) or 1.0
        q, bonus = node.q, node.bonus
        unvisited = node.value if self._fpu is None else self._fpu
        best, choice = -math.inf, node.open[0]
        for at in node.open:
            value = q[at]
            score = (value if value == value else unvisited) + bonus[at] * unit
            if score > best:
                best, choice = score, at
        return choice

    def _select_gumbel(self, node: Node) -> int:
        """Return the most of pi'(a) - n_a / (1 + N)."""
        improved = improved_logits_of_one(node.q, node.prior, node.log_prior(), node.visits, node.raw, self._scale)
        policy = softmax(improved)
        return max(node.open, key=lambda at: policy[at] - node.visits[at] / node.total)

    def _select_root(self, simulation: int) -> int:
        """Gumbel: the best of those whose turn it is."""
        node = self._root
        improved = improved_logits_of_one(node.q, node.prior, node.log_prior(), node.visits, node.raw, self._scale)
        turn = self._turns[simulation]
        return max(
            node.open,
            key=lambda at: improved[at] + self._gumbel[at] - abs(node.visits[at] - turn) * OUT_OF_TURN,
        )

    # ------------------------------------------------------------------ beginning and end

    def _plant(self, state: Any) -> Node:
        needed = (self._settings.simulations + 1) * (NODE_BYTES + self._width * EDGE_BYTES)
        if needed > self._settings.max_memory:
            raise ValueError(
                f"a tree of {self._settings.simulations + 1} nodes and {self._width} actions needs {needed:,} bytes; "
                f"max_memory is {self._settings.max_memory:,}: search with fewer simulations or raise it"
            )
        state, judgement = self._serial.begin(state)
        if self._keeps_plans:
            self._plan = judgement.plan
        root = Node(state, judgement, self._tie_noise)
        if self._settings.share_nodes:
            self._shared[self._world.key(state)] = root
        return root

    def _prepare_root(self) -> None:
        """Noise and schedule."""
        root, settings = self._root, self._settings
        legal = np.zeros((1, self._width), dtype=bool)
        legal[0, list(root.legal)] = True
        if settings.method == "gumbel":
            considered = min(settings.considered, len(root.legal))
            self._turns = halving_schedule(min(settings.considered, self._width), settings.simulations)[
                considered
            ].tolist()
            if settings.explore:
                self._gumbel = noise.gumbel(self._seed, self._width)[0, list(root.legal)].tolist()
        elif settings.explore:
            share, drawn = settings.noise_share, noise.dirichlet(self._seed, legal)[0, list(root.legal)].tolist()
            for at, prior in enumerate(root.prior):
                root.prior[at] = max((1 - share) * prior + share * drawn[at], LEAST_PRIOR)
                root.bonus[at] = root.prior[at] / (root.visits[at] + 1)

    def _note_plan(self, path: Path, rest: Plan) -> None:
        """Keep the best way to an end that was seen."""
        if not self._keeps_plans:
            return
        worth = rest.value
        for node, at in reversed(path):
            worth = node.reward[at] + node.discount[at] * worth
        if self._plan is None or worth > self._plan.value:
            self._plan = Plan((*(node.legal[at] for node, at in path), *rest.actions), worth)

    def _conclude(self, done: int) -> SearchResult:
        root = self._root
        legal = list(root.legal)

        def row(values: Sequence[Any], fill: Any, dtype: type) -> NDArray[Any]:
            wide = np.full((1, self._width), fill, dtype)
            wide[0, legal] = values
            return wide

        exhausted = self._is_certain(root)
        value = np.array([root.best if exhausted else root.value])
        is_open = [at in root.open for at in range(len(legal))]
        statistics = RootStatistics(
            visits=row(root.visits, 0, np.int64),
            q=row(root.q, np.nan, np.float64),
            closed=row([not known for known in is_open], False, np.bool_),
            legal=row([True] * len(legal), False, np.bool_),
            logits=row(root.log_prior(), -np.inf, np.float64),
            prior=row(root.prior, 0.0, np.float64),
            gumbel=row(self._gumbel, 0.0, np.float64),
            raw=np.array([root.raw]),
            value=value,
            exhausted=np.array([exhausted]),
        )
        action, policy = choose(statistics, self._settings, self._scale)
        return SearchResult(
            action, policy, value, statistics.visits, statistics.q, statistics.exhausted, np.array([done]),
            (self._plan,), (None,), ScalarTree(root, self._world, self._settings),
        )  # fmt: skip


def _value_range(root: Node) -> tuple[float, float]:
    """Lowest and highest value in a tree."""
    low = high = root.raw
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for value in node.q:
            if value == value:
                low, high = min(low, value), max(high, value)
        waiting += [child for child in node.child if child is not None]
    return low, high
