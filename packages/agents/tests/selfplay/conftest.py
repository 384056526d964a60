from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sightline.agents.selfplay import Board


def _random_positions(game: Any, seed: int, number: int, plies: range) -> list[Board]:
    rng = np.random.default_rng(seed)
    found: list[Board] = []
    while len(found) < number:
        state = game.initial()
        for _ in range(int(rng.choice(plies))):
            if game.outcome(state) is None:
                state = game.apply(state, int(rng.choice(game.legal(state))))
        if game.outcome(state) is None:
            found.append(state)
    return found


@pytest.fixture
def random_positions() -> Callable[..., list[Board]]:
    """(game, seed, number, range of plies) -> positions in which the game goes on."""
    return _random_positions
