"""Searched trees with the world they stand in, to go on from after an action was taken."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree.forest import Forest
from sightline.agents.planning.tree.node import Node
from sightline.agents.planning.tree.settings import SearchSettings
from sightline.agents.planning.worlds.model import Model


class LockStepTree(NamedTuple):
    """A searched forest and the world it stands in."""

    forest: Forest
    world: Model
    settings: SearchSettings

    def advance(self, actions: NDArray[np.int64]) -> LockStepTree:
        """Return the trees below one action of each root; visits are kept.

        Raises:
            ValueError: the method is Gumbel, whose schedule counts from no visits, or an action leads to no node.
        """
        if self.settings.method == "gumbel":
            raise ValueError('a tree of method="gumbel" cannot be advanced: its schedule counts from no visits')
        kept = self.forest.below(np.asarray(actions, np.int64), self.settings.simulations)
        return LockStepTree(kept, self.world, self.settings)


class ScalarTree(NamedTuple):
    """A searched tree and the world it stands in."""

    root: Node
    world: Model
    settings: SearchSettings

    def advance(self, actions: NDArray[np.int64]) -> ScalarTree:
        """Return the tree below one action of the root; visits are kept.

        Raises:
            ValueError: the method is Gumbel, whose schedule counts from no visits, or the action leads to no node.
        """
        if self.settings.method == "gumbel":
            raise ValueError('a tree of method="gumbel" cannot be advanced: its schedule counts from no visits')
        action = int(actions[0])
        child = self.root.child[self.root.legal.index(action)] if action in self.root.legal else None
        if child is None:
            raise ValueError(f"action {action} leads to no node; search from its state anew")
        return ScalarTree(child, self.world, self.settings)


Tree: TypeAlias = LockStepTree | ScalarTree
