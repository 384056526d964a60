"""Positions to begin matches from: distinct, reachable, and not yet decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sightline.agents.planning import Game, RandomPlay

_TRIES = 300  # random games for each opening asked for, before they are said to run out
_JUDGING_GAMES = 40


def balanced_openings(
    game: Game[Any],
    count: int,
    *,
    plies: int,
    seed: int,
    max_imbalance: float = 0.6,
    is_fair: Callable[[Any], bool] | None = None,
) -> list[Any]:
    """Distinct positions after so many random moves in which neither side is much ahead.

    No opening lets the side to move win at once, and the mean result of 40 games of random moves is at most
    `max_imbalance` from a draw.

    Args:
        game: the game.
        count: how many.
        plies: moves from the beginning.
        seed: seed of the moves.
        max_imbalance: greatest imbalance, in [0, 1]; 1 takes any position.
        is_fair: a further condition, for example that a solver calls the position a draw.

    Raises:
        ValueError: so many openings were not found.
    """
    if count < 1 or plies < 0 or not 0 <= max_imbalance <= 1:
        raise ValueError(
            "count must be at least 1, plies at least 0 and max_imbalance in [0, 1]; "
            f"got {count}, {plies} and {max_imbalance}"
        )
    rng = np.random.default_rng(seed)
    judge = RandomPlay(game, _JUDGING_GAMES, seed)
    seen: set[Any] = set()
    found: list[Any] = []
    for _ in range(_TRIES * count):
        state = _random_position(game, plies, rng)
        if state is None or game.key(state) in seen:
            continue
        seen.add(game.key(state))
        if _wins_at_once(game, state) or abs(float(judge([state])[1][0])) > max_imbalance:
            continue
        if is_fair is None or is_fair(state):
            found.append(state)
            if len(found) == count:
                return found
    raise ValueError(
        f"{count} distinct openings of {plies} plies were asked for and {len(found)} found; "
        "take more plies, fewer openings or a larger max_imbalance"
    )


def _random_position(game: Game[Any], plies: int, rng: np.random.Generator) -> Any | None:
    """Return a position after random moves; None where the game ended before."""
    state = game.initial()
    for _ in range(plies):
        if game.outcome(state) is not None:
            return None
        legal = game.legal(state)
        state = game.apply(state, legal[int(rng.integers(len(legal)))])
    return state if game.outcome(state) is None else None


def _wins_at_once(game: Game[Any], state: Any) -> bool:
    mine = 1.0 if game.to_move(state) == 0 else -1.0
    return any(game.outcome(game.apply(state, action)) == mine for action in game.legal(state))
