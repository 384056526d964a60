"""Mazes on a square grid: mark the only shortest path from start to goal."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from sightline.agents.reasoning.puzzles.tasks import ExactSolutions, PuzzleBatch, PuzzleError, PuzzleTask

WALL, FLOOR, START, GOAL, PATH = range(5)

_ATTEMPTS = 10_000


class Maze(PuzzleTask):
    """A grid of `side` by `side` cells, each a wall with probability `walls`.

    Start and goal are at least `side` steps apart and joined by exactly one shortest path, whose inner cells are to
    become `PATH`. The sixteen symmetries are the eight of the square, each with or
    without the exchange of start and goal.
    """

    def __init__(self, side: int = 10, *, walls: float = 0.3) -> None:
        if not 4 <= side <= 40:
            raise ValueError(f"side must be between 4 and 40, not {side}")
        if not 0 <= walls <= 0.4:
            raise ValueError(
                f"walls must be a share between 0 and 0.4, above which goals are out of reach, not {walls}"
            )
        self.name = f"maze-{side}" if walls == 0.3 else f"maze-{side}-{walls:g}"
        self.side = side
        self.walls = walls
        self.length = side * side
        self.vocabulary = 5
        cells = np.arange(self.length).reshape(side, side)
        turned = [np.rot90(cells, quarter) for quarter in range(4)]
        self._images = np.stack([image.ravel() for grid in turned for image in (grid, grid.T)])
        self._neighbours = [
            [
                int(cells[row + down, column + right])
                for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
                if 0 <= row + down < side and 0 <= column + right < side
            ]
            for row in range(side)
            for column in range(side)
        ]

    def sample(self, rng: np.random.Generator, count: int) -> PuzzleBatch:
        """Draw mazes until `count` have a start and a goal as asked."""
        inputs = np.empty((count, self.length), dtype=np.int64)
        for row in range(count):
            inputs[row] = self._draw(rng)
        return PuzzleBatch(inputs, self.solve(inputs).targets, self.groups(inputs))

    def augment(self, rng: np.random.Generator, batch: PuzzleBatch) -> PuzzleBatch:
        """Turn, mirror and exchange start and goal at random."""
        images = self._images[rng.integers(0, len(self._images), size=len(batch))]
        exchange = rng.random((len(batch), 1)) < 0.5
        inputs, targets = (
            np.where(exchange, _exchanged(tokens), tokens)
            for tokens in (np.take_along_axis(grid, images, axis=1) for grid in (batch.inputs, batch.targets))
        )
        return PuzzleBatch(inputs, targets, batch.group)

    def canonical(self, inputs: NDArray[np.int64]) -> list[bytes]:
        """Return the smallest of the sixteen images."""
        tokens = inputs.astype(np.uint8)
        images = np.concatenate([tokens[:, self._images], _exchanged(tokens)[:, self._images]], axis=1)
        return [min(image.tobytes() for image in example) for example in images]

    def solve(self, inputs: NDArray[np.int64]) -> ExactSolutions:
        """Search breadth first and count shortest paths; nothing is ever guessed."""
        targets = np.zeros_like(inputs)
        counts = np.zeros(len(inputs), dtype=np.int64)
        for row, tokens in enumerate(inputs.tolist()):
            start, goal = tokens.index(START), tokens.index(GOAL)
            steps, paths = self._distances(tokens, start)
            if goal not in steps:
                continue
            counts[row] = min(paths[goal], 2)
            targets[row] = inputs[row]
            targets[row, self._path(steps, goal)] = PATH
        return ExactSolutions(targets, counts, np.zeros(len(inputs), dtype=np.int64))

    def asked(self, inputs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the cells of floor."""
        return inputs == FLOOR

    def is_solution(self, inputs: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Follow the marked cells: a connected path of the shortest length and nothing marked beside it."""
        right = np.zeros(len(inputs), dtype=np.bool_)
        for row, (tokens, answer) in enumerate(zip(inputs.tolist(), answers.tolist(), strict=True)):
            marked = {cell for cell, token in enumerate(answer) if token == PATH}
            copied = all(
                token == given or (given == FLOOR and token == PATH)
                for given, token in zip(tokens, answer, strict=True)
            )
            start, goal = tokens.index(START), tokens.index(GOAL)
            steps, _ = self._distances(tokens, start)
            if not copied or steps.get(goal) != len(marked) + 1:
                continue
            # So many cells as a shortest path has: they are one if the goal is reached over them alone.
            only = [token if cell in marked or cell in (start, goal) else WALL for cell, token in enumerate(answer)]
            right[row] = goal in self._distances(only, start)[0]
        return right

    def check_rules(self, inputs: NDArray[np.int64]) -> None:
        """Ask for one start, one goal and no path."""
        for example, tokens in enumerate(inputs):
            for token, word, wanted in ((START, "start", 1), (GOAL, "goal", 1), (PATH, "path cell", 0)):
                cells = np.flatnonzero(tokens == token)
                if len(cells) > wanted:
                    raise PuzzleError(f"puzzle {example}, cell {cells[wanted]}: a maze has {wanted or 'no'} {word}")
                if len(cells) < wanted:
                    raise PuzzleError(f"puzzle {example}: a maze needs one {word}")

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        for _ in range(_ATTEMPTS):
            tokens = np.where(rng.random(self.length) < self.walls, WALL, FLOOR)
            start = int(rng.integers(self.length))
            tokens[start] = START
            steps, paths = self._distances(tokens.tolist(), start)
            goals = [cell for cell, distance in steps.items() if distance >= self.side and paths[cell] == 1]
            if goals:
                tokens[goals[int(rng.integers(len(goals)))]] = GOAL
                return tokens
        raise RuntimeError(f"no maze with a path of {self.side} steps in {_ATTEMPTS} draws; ask for fewer walls")

    def _distances(self, tokens: list[int], start: int) -> tuple[dict[int, int], dict[int, int]]:
        """Return steps from the start and number of shortest paths of every cell that can be reached."""
        steps, paths = {start: 0}, {start: 1}
        queue = deque([start])
        while queue:
            cell = queue.popleft()
            for neighbour in self._neighbours[cell]:
                if tokens[neighbour] == WALL:
                    continue
                if neighbour not in steps:
                    steps[neighbour] = steps[cell] + 1
                    paths[neighbour] = 0
                    queue.append(neighbour)
                if steps[neighbour] == steps[cell] + 1:
                    paths[neighbour] += paths[cell]
        return steps, paths

    def _path(self, steps: dict[int, int], goal: int) -> list[int]:
        """Return the cells between start and goal of one shortest path."""
        path = []
        cell = goal
        while steps[cell] > 1:
            cell = next(near for near in self._neighbours[cell] if steps.get(near) == steps[cell] - 1)
            path.append(cell)
        return path


def _exchanged(tokens: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.where(tokens == START, GOAL, np.where(tokens == GOAL, START, tokens))
