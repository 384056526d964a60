"""Players: tree search with random games, perfect play, and random moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.agents.planning import EvaluatorChoice, Game, Method, Search, as_model, mix_bits
from sightline.agents.selfplay.games.solver import Solver
from sightline.agents.selfplay.matches.playing import Choices


class MCTSPlayer:
    """Searches every position anew, all in lock step.

    Args:
        simulations: number of simulations of each search.
        method: "puct" or "gumbel".
        evaluator: "rollouts" (one random game a leaf), "uniform", or a function of the game's states; a game with a
            `model` of its own, such as `ConnectFour`, has its evaluators take arrays.
        name: name for tables.
    """

    def __init__(
        self,
        simulations: int,
        method: Method = "puct",
        evaluator: EvaluatorChoice = "rollouts",
        name: str | None = None,
    ) -> None:
        judge = evaluator if isinstance(evaluator, str) else "network"
        self.name = name or f"{method} {simulations} ({judge})"
        self._evaluator = evaluator
        self._search = Search(simulations=simulations, method=method, ties="random")

    def choose(self, game: Game[Any], states: Sequence[Any], seeds: Sequence[int]) -> Choices:
        """Return the actions of the searches, and the values of their roots."""
        model = game.model(self._evaluator) if hasattr(game, "model") else as_model(game, self._evaluator)  # ty: ignore
        result = self._search.run(model, states, seeds=seeds, executor="lockstep")
        return Choices(result.action, result.value)


class SolverPlayer:
    """Plays Connect Four perfectly: of the best actions one at random.

    Args:
        solver: solver of the game that is played.
    """

    name = "solver"

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def choose(self, game: Game[Any], states: Sequence[Any], seeds: Sequence[int]) -> Choices:
        """Best actions and their exact results, 1, 0 or -1."""
        del game
        actions, values = [], []
        for state, seed in zip(states, seeds, strict=True):
            scores = self._solver.action_scores(state)
            best = max(scores.values())
            actions.append(_draw([action for action, score in scores.items() if score == best], seed))
            values.append(float(np.sign(best)))
        return Choices(np.array(actions, np.int64), np.array(values))


class RandomPlayer:
    """Plays any legal action."""

    name = "random"

    def choose(self, game: Game[Any], states: Sequence[Any], seeds: Sequence[int]) -> Choices:
        """Legal actions at random; it expects nothing."""
        actions = [_draw(game.legal(state), seed) for state, seed in zip(states, seeds, strict=True)]
        return Choices(np.array(actions, np.int64), np.full(len(actions), np.nan))


def _draw(actions: Sequence[int], seed: int) -> int:
    return actions[int(mix_bits(np.array([seed], np.uint64))[0]) % len(actions)]
