"""Lifts a `Game`, written one state at a time, to a `Model` that any search can plan in."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.worlds.model import Evaluator, Expansion, Game, Model, ModelError, check_shapes
from sightline.agents.planning.worlds.serial import Judgement, Serial

EvaluatorName = Literal["uniform", "rollouts"]
EvaluatorChoice: TypeAlias = EvaluatorName | Evaluator
"""`"uniform"`: all actions alike, value 0; `"rollouts"`: all alike, value of one game of random moves."""


def as_model(game: Game[Any], evaluator: EvaluatorChoice = "uniform", *, players: Literal[1, 2] = 2) -> Model:
    """Return a model of a game.

    Args:
        game: its states are the model's; a batch of them is a list.
        evaluator: judges lists of states, or the name of a simple one.
        players: 1 for a puzzle, in which `to_move` is always 0.

    Raises:
        ValueError: the evaluator's name is unknown.
    """
    return GameModel(game, evaluator, players)


class GameModel:
    """See `as_model`."""

    bounds: tuple[float, float] | None = (-1.0, 1.0)
    deterministic = True

    def __init__(self, game: Game[Any], evaluator: EvaluatorChoice, players: Literal[1, 2]) -> None:
        if isinstance(evaluator, str) and evaluator not in ("uniform", "rollouts"):
            raise ValueError(f'evaluator must be "uniform", "rollouts" or a function of states, not {evaluator!r}')
        self.game = game
        self.players: Literal[1, 2] = players
        self.max_actions = game.max_actions
        if evaluator == "rollouts":
            evaluator = RandomPlay(game)
        self._evaluate: Evaluator | None = None if isinstance(evaluator, str) else evaluator

    def pack(self, roots: Sequence[Any]) -> list[Any]:
        """Return a list of these states."""
        return list(roots)

    def step(
        self, states: list[Any], actions: NDArray[np.int64]
    ) -> tuple[list[Any], NDArray[np.float64], NDArray[np.float64]]:
        """See `Model.step`."""
        steps = [self.step_one(state, action) for state, action in zip(states, actions.tolist(), strict=True)]
        rewards, discounts = np.array([step[1:] for step in steps], dtype=np.float64).reshape(-1, 2).T
        return [step[0] for step in steps], rewards, discounts

    def expand(self, states: list[Any]) -> Expansion:
        """See `Model.expand`."""
        legal = np.zeros((len(states), self.max_actions), dtype=bool)
        for row, state in enumerate(states):
            legal[row, self._legal(state)] = True
        if self._evaluate is None:
            return Expansion(np.zeros(legal.shape), np.zeros(len(states)), legal)
        logits, values = self._evaluate(states)
        return Expansion(logits, values, legal)

    def key(self, state: Any) -> Hashable | None:
        """Return the game's key."""
        return self.game.key(state)

    def serial(self) -> Serial:
        """Return the game itself, without arrays."""
        return _SerialGame(self)

    def step_one(self, state: Any, action: int) -> tuple[Any, float, float]:
        """(next state, reward of the side that acted, discount)."""
        game = self.game
        after = game.apply(state, action)
        outcome = game.outcome(after)
        mover = game.to_move(state)
        if outcome is not None:
            return after, -outcome if mover else outcome, 0.0
        return after, 0.0, 1.0 if game.to_move(after) == mover else -1.0

    def judge(self, states: Sequence[Any]) -> list[Judgement]:
        """Return the judgement of each state, in none of which the game is over."""
        if self._evaluate is None:
            return [Judgement(self.game.legal(state), None, 0.0) for state in states]
        return self.judgements(states, *self._evaluate(list(states)))

    def judgements(
        self, states: Sequence[Any], logits: NDArray[np.floating], values: NDArray[np.floating]
    ) -> list[Judgement]:
        """Return what an evaluator's answer says of each state's legal actions."""
        legal = [list(self.game.legal(state)) for state in states]
        logits, values = np.asarray(logits), np.asarray(values)
        check_shapes(logits, values, (len(states), self.max_actions))
        return [
            Judgement(actions, row[actions].tolist(), value)
            for actions, row, value in zip(legal, logits, values.tolist(), strict=True)
        ]

    def _legal(self, state: Any) -> list[int]:
        return list(self.game.legal(state)) if self.game.outcome(state) is None else []


class _SerialGame:
    """A game's model, one state at a time."""

    def __init__(self, model: GameModel) -> None:
        self._model = model

    def begin(self, root: Any) -> tuple[Any, Judgement]:
        """Return the root, with no legal action where the game is over."""
        if self._model.game.outcome(root) is not None:
            return root, Judgement((), (), 0.0)
        return root, self._model.judge([root])[0]

    def step(self, states: Sequence[Any], actions: Sequence[int]) -> list[tuple[Any, float, float]]:
        """See `Model.step`."""
        return [self._model.step_one(state, action) for state, action in zip(states, actions, strict=True)]

    def expand(self, states: Sequence[Any]) -> list[Judgement]:
        """See `Model.expand`."""
        return self._model.judge(states)


class RandomPlay:
    """Evaluator: all actions alike; the value is the mean end of games of random moves.

    A position's games are drawn from its key, so that one position has one value.

    Args:
        game: its rules.
        games: played from every state.
        seed: seed of the moves.
    """

    def __init__(self, game: Game[Any], games: int = 1, seed: int = 0) -> None:
        if games < 1:
            raise ValueError(f"games must be at least 1, not {games!r}")
        self._game, self._games, self._seed = game, games, seed

    def __call__(self, states: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(zeros `[n, A]`, values `[n]` for the side to move)."""
        values = [np.mean([self._end(state, number) for number in range(self._games)]) for state in states]
        return np.zeros((len(states), self._game.max_actions)), np.array(values, dtype=np.float64)

    def _end(self, state: Any, number: int) -> float:
        """How one game ends for the side to move."""
        game, mover = self._game, self._game.to_move(state)
        rng = random.Random(f"{self._seed} {number} {game.key(state)!r}")
        while (outcome := game.outcome(state)) is None:
            legal = game.legal(state)
            if not legal:
                raise ModelError(f"no legal action in {game.key(state)!r}, where the game goes on")
            state = game.apply(state, rng.choice(legal))
        return -outcome if mover else outcome
