"""The positions of finished games, to learn from: the latest ones, as many as there is room for.

Letters in shapes: n positions, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.agents.selfplay.games.boards import BoardGame, Boards


@dataclass(frozen=True, slots=True)
class Targets:
    """Positions with what a network should say of them."""

    mover: NDArray[np.uint64]
    """uint64 `[n]` stones of the side to move."""
    other: NDArray[np.uint64]
    """uint64 `[n]` stones of the other side."""
    policy: NDArray[np.float32]
    """float32 `[n, A]`."""
    value: NDArray[np.float32]
    """float32 `[n]` for the side to move."""

    def __len__(self) -> int:
        return len(self.value)

    @property
    def boards(self) -> Boards:
        """The positions."""
        return self.mover, self.other


class ReplayBuffer:
    """The latest positions; the oldest make room.

    Args:
        capacity: most positions held.
        actions: A.
    """

    def __init__(self, capacity: int, actions: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self.capacity = capacity
        self.added = 0
        self._held = Targets(
            np.zeros(capacity, np.uint64),
            np.zeros(capacity, np.uint64),
            np.zeros((capacity, actions), np.float32),
            np.zeros(capacity, np.float32),
        )

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, targets: Targets) -> None:
        """Hold more positions."""
        places = (self.added + np.arange(len(targets))) % self.capacity
        for held, new in zip(_arrays(self._held), _arrays(targets), strict=True):
            held[places] = new  # where more come than fit, the last ones stay
        self.added += len(targets)

    def sample(self, number: int, rng: np.random.Generator, game: BoardGame) -> tuple[NDArray[np.float32], Targets]:
        """Return positions at random, half of them as their mirror images: (planes `[n, P, columns, rows]`, targets).

        Raises:
            ValueError: nothing is held.
        """
        if not len(self):
            raise ValueError("the replay buffer is empty; play games before learning from them")
        chosen = rng.integers(0, len(self), number)
        held = self._held
        mover, other, policy, value = held.mover[chosen], held.other[chosen], held.policy[chosen], held.value[chosen]
        planes = game.planes((mover, other))
        flip = rng.random(number) < 0.5
        planes[flip] = planes[flip, :, ::-1]
        policy[flip] = policy[flip][:, game.mirror_actions()]
        return planes, Targets(mover, other, policy, value)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that is held, as arrays by name."""
        names = ("mover", "other", "policy", "value")
        held = {name: array[: len(self)] for name, array in zip(names, _arrays(self._held), strict=True)}
        return {**held, "added": np.array(self.added)}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Hold what `state` gave.

        Raises:
            ValueError: it is of a buffer of another shape.
        """
        for name, array in zip(("mover", "other", "policy", "value"), _arrays(self._held), strict=True):
            given = state[name]
            if given.shape[1:] != array.shape[1:] or len(given) > self.capacity:
                raise ValueError(f"{name} of the saved buffer is {given.shape}, which does not fit {array.shape}")
            array[: len(given)] = given
        self.added = int(state["added"])


def _arrays(targets: Targets) -> tuple[NDArray[np.generic], ...]:
    return targets.mover, targets.other, targets.policy, targets.value
