"""A Sudoku as a world of one player, so that tree search with a reasoner's distribution as prior can solve it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.agents.planning import Expansion
from sightline.agents.reasoning import HRM, TRM, Sudoku

Cells = tuple[int, ...]


class CellFilling:
    """A digit is put into a cell with the fewest digits left; 1 is earned where that completes the puzzle.

    The world ends there, and where some cell has no digit left. Prior and value are a reasoner's: its distribution at
    the cell to be filled, and its confidence.
    """

    players: Literal[1] = 1
    bounds: tuple[float, float] = (0.0, 1.0)
    deterministic = True

    def __init__(self, task: Sudoku, reasoner: TRM | HRM, segments: int) -> None:
        """Make the world.

        Args:
            task: the kind of Sudoku.
            reasoner: trained on it.
            segments: gone through for each judgement.
        """
        self.task = task
        self.reasoner = reasoner
        self.segments = segments
        self.max_actions = task.side
        self.judged = 0
        """States judged by the reasoner so far."""

    def pack(self, roots: Sequence[Any]) -> list[Cells]:
        """Return states as a batch."""
        return [tuple(root) for root in roots]

    def step(
        self, states: Sequence[Cells], actions: NDArray[np.int64]
    ) -> tuple[list[Cells], NDArray[np.float64], NDArray[np.float64]]:
        """Put digit action + 1 into the cell to be filled."""
        following = []
        for state, action in zip(states, actions.tolist(), strict=True):
            cell, _ = self._choice(state)
            following.append((*state[:cell], action + 1, *state[cell + 1 :]))
        complete = np.array([0 not in state for state in following])
        over = complete | np.array([not all(self.task.candidates(state).values()) for state in following])
        return following, complete.astype(np.float64), (~over).astype(np.float64)

    def expand(self, states: Sequence[Cells]) -> Expansion:
        """Judge states by the reasoner."""
        choices = [self._choice(state) for state in states]
        legal = np.zeros((len(states), self.max_actions), dtype=np.bool_)
        for row, (_, digits) in enumerate(choices):
            legal[row, [digit - 1 for digit in digits]] = True
        self.judged += len(states)
        inputs = torch.tensor(states)
        with torch.inference_mode():
            latents = self.reasoner.initial(inputs)
            for _ in range(self.segments):
                latents, output = self.reasoner(inputs, latents)
        cells = torch.tensor([cell for cell, _ in choices])
        logits = output.logits[torch.arange(len(states)), cells, 1:].log_softmax(dim=1)
        return Expansion(logits.double().numpy(), output.halt.sigmoid().double().numpy(), legal)

    def key(self, state: Cells) -> Hashable:
        """Return the cells."""
        return state

    def _choice(self, state: Cells) -> tuple[int, list[int]]:
        """Return the cell to be filled and what is left to it; nothing where the world has ended."""
        left = self.task.candidates(state)
        if not left or not all(left.values()):
            return 0, []
        cell = min(left, key=lambda empty: len(left[empty]))
        return cell, left[cell]
