"""What a searched tree teaches an actor: which action was better than which, and the way that a plan takes.

Both are for training goals alone, where a search may read true rewards (Anthony et al. 2017, expert iteration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.agents.planning.environments.world import EnvironmentWorld, PageState
from sightline.agents.planning.tree.node import Node
from sightline.agents.planning.tree.result import SearchResult
from sightline.agents.planning.tree.trees import ScalarTree
from sightline.agents.records import Situation


@dataclass(frozen=True, slots=True)
class Preference:
    """Two actions of one situation of which a search found one to be worth more."""

    situation: Situation
    """Where they could be chosen."""
    better: str
    """The one worth more."""
    worse: str
    """The other one."""
    gap: float
    """Difference of their values, above 0."""


def preferences(result: SearchResult, *, min_gap: float = 0.1, min_visits: int = 2) -> list[Preference]:
    """Return the pairs of actions that a search tells apart, best against each other one, from the root down.

    Args:
        result: result of a search by the scalar executor in an `EnvironmentWorld`.
        min_gap: least difference of values.
        min_visits: least visits of an action whose value is not exact.

    Raises:
        TypeError: the result is of another executor or world.
        ValueError: the gap is not above 0.
    """
    if not min_gap > 0:
        raise ValueError(f"min_gap must be above 0, not {min_gap!r}")
    if not isinstance(result.tree, ScalarTree) or not isinstance(result.tree.root.state, PageState):
        raise TypeError("preferences are read from a search of one root in an EnvironmentWorld")
    found: list[Preference] = []
    waiting: list[Node] = [result.tree.root]
    while waiting:
        node = waiting.pop(0)
        waiting += [child for child in node.child if child is not None]
        known = [
            (node.q[at], action)
            for at, action in enumerate(node.legal)
            if node.visits[at] >= min_visits or (node.visits[at] and at not in node.open)
        ]
        if len(known) < 2:
            continue
        situation = node.state.situation
        best, better = max(known, key=lambda pair: pair[0])
        found += [
            Preference(situation, situation.actions[better], situation.actions[action], best - value)
            for value, action in known
            if best - value >= min_gap
        ]
    return found


def demonstrate(world: EnvironmentWorld, root: PageState, actions: Sequence[str]) -> list[tuple[Situation, str]]:
    """Return the situations on a plan's way with what it does in each, for an actor to imitate.

    Args:
        world: where the plan was made.
        root: where it begins.
        actions: actions of the plan.

    Raises:
        ValueError: an action is not offered where the plan takes it.
    """
    found = []
    for action in actions:
        if action not in root.situation.actions:
            raise ValueError(f"the plan takes {action!r}, which is not among {root.situation.actions}")
        found.append((root.situation, action))
        root = world.step(root, action).state
    return found
