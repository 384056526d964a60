"""The way in: one search for games, puzzles and environments, over one root or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from sightline.agents.planning.tree import noise
from sightline.agents.planning.tree.lockstep import LockStep
from sightline.agents.planning.tree.result import SearchResult
from sightline.agents.planning.tree.scalar import Scalar
from sightline.agents.planning.tree.settings import SearchSettings
from sightline.agents.planning.tree.trees import LockStepTree, ScalarTree, Tree
from sightline.agents.planning.worlds.game import as_model
from sightline.agents.planning.worlds.model import Game, Model


@dataclass(frozen=True, kw_only=True)
class Search(SearchSettings):
    """Monte Carlo tree search; a function of its settings, the roots and their seeds."""

    def run(
        self,
        world: Model | Game[Any],
        roots: Sequence[Any] | Tree,
        *,
        seeds: Sequence[int] | None = None,
        executor: Literal["lockstep", "scalar"] | None = None,
        allow_terminal: bool = False,
    ) -> SearchResult:
        """Search from every root.

        Args:
            world: a game is searched with equal priors and values of 0; `as_model` gives it others.
            roots: single states of the world, or a tree from `Tree.advance` whose visits count on.
            seeds: seeds of what is random at each root; by default drawn from the settings' seed, by position.
            executor: "scalar" (the default for one root) searches in plain Python, "lockstep" all roots at once.
            allow_terminal: answer a root in which the world has ended with action -1 and an empty policy.

        Raises:
            ValueError: the settings do not suit the world, there is no root, a root is an end, or the tree would take
                more than `max_memory`.
            EvaluatorError: an evaluator's numbers cannot be used.
            ModelError: the world breaks its own rules.
        """
        model = _as_model(world)
        self.check_world(model)
        self._check_gumbel(model)
        tree = roots if isinstance(roots, LockStepTree | ScalarTree) else None
        states = [] if isinstance(roots, LockStepTree | ScalarTree) else list(roots)
        number = _count(tree, states)
        drawn = noise.root_seeds(self.seed, number) if seeds is None else noise.as_seeds(seeds)
        if len(drawn) != number:
            raise ValueError(f"{number} roots need as many seeds, not {len(drawn)}")
        if self._is_scalar(executor, tree, number):
            root = tree if isinstance(tree, ScalarTree) else states[0]
            result = Scalar(self, model, root, int(drawn[0])).run()
        else:
            result = LockStep(self, model, tree if isinstance(tree, LockStepTree) else states, drawn).run()
        if not allow_terminal and (result.action < 0).any():
            row = int(np.flatnonzero(result.action < 0)[0])
            raise ValueError(f"the game is over in root {row}: nothing to search (allow_terminal=True accepts it)")
        return result

    def _is_scalar(self, executor: str | None, tree: Tree | None, number: int) -> bool:
        """Whether the scalar executor is to search.

        Raises:
            ValueError: the chosen one cannot.
        """
        if executor not in (None, "lockstep", "scalar"):
            raise ValueError(f'executor must be "lockstep" or "scalar", not {executor!r}')
        grown = None if tree is None else "lockstep" if isinstance(tree, LockStepTree) else "scalar"
        if grown is not None and executor not in (None, grown):
            raise ValueError(f"a tree of the {grown} executor cannot be searched by the {executor} one")
        scalar = (grown or executor or ("scalar" if number == 1 else "lockstep")) == "scalar"
        if scalar and number > 1:
            raise ValueError(f'executor="scalar" searches one root, not {number}; leave executor out')
        if not scalar and (self.leaves_per_step > 1 or self.share_nodes):
            raise ValueError("leaves_per_step and share_nodes need one root and the scalar executor")
        return scalar

    def _check_gumbel(self, model: Model) -> None:
        considered = min(self.considered, model.max_actions)
        if self.method == "gumbel" and self.simulations < 2 <= considered:
            raise ValueError(
                f'simulations must be at least 2 for "gumbel" with {considered} legal actions considered; '
                'use method="puct"'
            )


def _as_model(world: Model | Game[Any]) -> Model:
    if hasattr(world, "expand"):
        return cast(Model, world)
    return as_model(cast(Game[Any], world))


def _count(tree: Tree | None, states: list[Any]) -> int:
    if isinstance(tree, LockStepTree):
        return tree.forest.roots
    number = 1 if tree is not None else len(states)
    if number == 0:
        raise ValueError("there is no root to search from; give a list of states")
    return number
