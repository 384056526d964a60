"""Values of states and actions under a policy, exact up to a certified gap, on a graph of states without their clock.

The graph is expanded where episodes are expected to arrive; what it does not know counts as failure for the lower end
and as success for the upper one. So the interval holds whatever was expanded. This module knows nothing of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.ledger import Ledger
from sightline.teachability.protocols import ActionPolicy, Dynamics, S, ask_policy, guarded_step, guarded_view
from sightline.teachability.records import Bound
from sightline.teachability.values.horizon import Chain, Values, arrivals, backward

_BATCH = 24
"""States whose prompts are asked for together."""


@dataclass(frozen=True, slots=True)
class Node(Generic[S]):
    """An expanded state."""

    actions: tuple[str, ...]
    """What can be done; empty where nothing can."""
    probabilities: NDArray[np.float64]
    """[A] of the policy."""
    children: tuple[S | None, ...]
    """The timeless state after each action, None where it ended the episode."""
    success: NDArray[np.float64]
    """[A] 1 where the action ends the episode in success, else 0."""
    reward: NDArray[np.float64]
    """[A] reward of the ending, 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Reach(Generic[S]):
    """What can be reached from some roots, as arrays."""

    states: tuple[S, ...]
    """The timeless state of each index."""
    index: dict[S, int]
    """The reverse."""
    chain: Chain
    """Transitions among them."""
    roots: tuple[tuple[int, int], ...]
    """(index, steps left) of each root."""
    values: Values
    """Of every state, for 0 to the largest number of steps left."""


class ValueGraph(Generic[S]):
    """Values of a policy, with bounds.

    Args:
        dynamics: the environment; `Dynamics.timeless` says which states are one.
        policy: the student.
        tolerance: gap at which a value is known well enough.
        max_prompts: most policy answers that one call may buy.
        patch: a text that the policy reads beside every page.
        ledger: where prompts and steps are counted.
    """

    def __init__(
        self,
        dynamics: Dynamics[S],
        policy: ActionPolicy,
        *,
        tolerance: float = 0.03,
        max_prompts: int = 160,
        patch: str | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        if tolerance < 0 or max_prompts < 0:
            raise ValueError(f"tolerance {tolerance!r} and max_prompts {max_prompts!r} must not be negative")
        self.dynamics = dynamics
        self.policy = policy
        self.tolerance = tolerance
        self.max_prompts = max_prompts
        self.ledger = ledger or Ledger()
        self._patch = patch
        self._nodes: dict[S, Node[S]] = {}

    def __len__(self) -> int:
        """Return the number of expanded states, each of which cost one prompt."""
        return len(self._nodes)

    def value(self, state: S) -> Bound:
        """Return the chance of success, refined within the budget."""
        spent = self.refine([(state, None)])
        return self.bound(state, prompts=spent)

    def action_values(self, state: S, refine: Sequence[str] | None = None) -> dict[str, Bound]:
        """Return the chance of success after each action of a state with steps left.

        Args:
            state: where the action is taken.
            refine: actions whose values the budget is spent on; default all.
        """
        names = self.dynamics.actions(state) if refine is None else refine
        spent = self.refine([(state, action) for action in names])
        return self.action_bounds(state, prompts=spent)

    def refine(self, roots: Sequence[tuple[S, str | None]], *, max_prompts: int | None = None) -> int:
        """Expand states until every root's gap is within the tolerance, or the budget is spent.

        Args:
            roots: (state, action) pairs: the value of the action there, or of the state where the action is None.
            max_prompts: budget in place of the graph's.

        Returns:
            Prompts that were bought.

        Raises:
            DynamicsError: the dynamics raised.
            PolicyError: the policy gave no distribution.
        """
        budget = self.max_prompts if max_prompts is None else max_prompts
        places = [place for place in (self._place(*root) for root in roots) if place is not None]
        spent = 0
        while spent < budget:
            reach = self.reach(places)
            wide = [(i, left, 1.0) for i, left in reach.roots if reach.values.gap[left, i] > self.tolerance]
            if not wide:
                break
            mass = arrivals(reach.chain, wide, max(left for _, left, _ in wide)).sum(axis=0)
            order = np.argsort(-mass, kind="stable")[: min(_BATCH, budget - spent)]
            chosen = [reach.states[i] for i in order.tolist() if mass[i] > 0]
            self.expand(chosen)
            spent += len(chosen)
        return spent

    def bound(self, state: S, *, reward: bool = False, prompts: int = 0) -> Bound:
        """Return what is known of a state's value without asking anything.

        Args:
            state: the state.
            reward: whether the expected reward is wanted, in place of the chance of success.
            prompts: what to write into the bound.
        """
        reach = self.reach([(self.dynamics.timeless(state), self.dynamics.steps_left(state))])
        (index, left) = reach.roots[0]
        return _bound(reach.values, left, index, reward=reward, prompts=prompts)

    def action_bounds(self, state: S, *, prompts: int = 0) -> dict[str, Bound]:
        """Return what is known of the value of each action without asking anything."""
        key, left = self.dynamics.timeless(state), self.dynamics.steps_left(state)
        if left < 1:
            raise ValueError("no step is left in this state, so no action can be taken")
        actions = self.dynamics.actions(state)
        ends = {action: guarded_step(self.dynamics, key, action) for action in actions}
        places = {
            action: (self.dynamics.timeless(end.state), left - 1) for action, end in ends.items() if not end.ended
        }
        reach = self.reach(list(places.values()))
        bounds = {}
        for action, end in ends.items():
            if end.ended:
                worth = float(end.success)
                bounds[action] = Bound(low=worth, high=worth, estimate=worth, method="graph", prompts=prompts)
            else:
                bounds[action] = _bound(reach.values, left - 1, reach.index[places[action][0]], prompts=prompts)
        return bounds

    def node(self, state: S) -> Node[S]:
        """Return a state's node; it is expanded where it is not."""
        key = self.dynamics.timeless(state)
        self.expand([key])
        return self._nodes[key]

    def expand(self, states: Sequence[S]) -> None:
        """Ask the policy about timeless states and try all of their actions; those expanded before cost nothing."""
        new = [state for state in dict.fromkeys(states) if state not in self._nodes]
        views = [guarded_view(self.dynamics, state) for state in new]
        asked = [view for view in views if view.actions]
        patches = None if self._patch is None else [self._patch] * len(asked)
        answers = iter(ask_policy(self.policy, asked, patches))
        self.ledger.prompts += len(asked)
        for state, view in zip(new, views, strict=True):
            ends = [guarded_step(self.dynamics, state, action) for action in view.actions]
            self.ledger.environment_steps += len(ends)
            self._nodes[state] = Node(
                view.actions,
                next(answers) if view.actions else np.zeros(0),
                tuple(None if end.ended else self.dynamics.timeless(end.state) for end in ends),
                np.array([float(end.success) for end in ends]),
                np.array([end.reward if end.ended else 0.0 for end in ends]),
            )

    def reach(self, places: Sequence[tuple[S, int]]) -> Reach[S]:
        """Return all that episodes from (timeless state, steps left) pairs can meet, with its values."""
        index: dict[S, int] = {}
        for key, _ in places:
            index.setdefault(key, len(index))
        states = list(index)
        sources, targets, weights = [], [], []
        for position, state in enumerate(states):  # grows while it is walked
            node = self._nodes.get(state)
            if node is None:
                continue
            for child, probability in zip(node.children, node.probabilities.tolist(), strict=True):
                if child is None or probability == 0:
                    continue
                if child not in index:
                    index[child] = len(index)
                    states.append(child)
                sources.append(position)
                targets.append(index[child])
                weights.append(probability)
        nodes = [self._nodes.get(state) for state in states]
        chain = Chain(
            np.array(sources, dtype=np.int64),
            np.array(targets, dtype=np.int64),
            np.array(weights, dtype=np.float64),
            np.array([0.0 if node is None else float(node.probabilities @ node.success) for node in nodes]),
            np.array([0.0 if node is None else float(node.probabilities @ node.reward) for node in nodes]),
            np.array([node is None for node in nodes], dtype=np.bool_),
        )
        horizon = max((left for _, left in places), default=0)
        roots = tuple((index[key], left) for key, left in places)
        return Reach(tuple(states), index, chain, roots, backward(chain, horizon))

    def _place(self, state: S, action: str | None) -> tuple[S, int] | None:
        """Return where the episodes of a root begin, None where its action ends the episode at once."""
        key, left = self.dynamics.timeless(state), self.dynamics.steps_left(state)
        if action is None or left < 1:
            return key, left
        end = guarded_step(self.dynamics, key, action)
        return None if end.ended else (self.dynamics.timeless(end.state), left - 1)


def _bound(values: Values, left: int, index: int, *, reward: bool = False, prompts: int = 0) -> Bound:
    low = float((values.reward if reward else values.success)[left, index])
    high = min(low + float(values.gap[left, index]), max(1.0, low))
    return Bound(low=low, high=high, estimate=(low + high) / 2, method="graph", prompts=prompts)
