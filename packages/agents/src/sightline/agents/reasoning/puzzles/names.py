"""Kinds of puzzles by name, so that a saved model can say which one it answers."""

from __future__ import annotations

import re

from sightline.agents.reasoning.puzzles.addition import Addition
from sightline.agents.reasoning.puzzles.maze import Maze
from sightline.agents.reasoning.puzzles.sudoku import Sudoku
from sightline.agents.reasoning.puzzles.tasks import PuzzleTask

_SUDOKU = re.compile(r"sudoku-(\d+)(?:-(\d+)-(\d+))?")
_MAZE = re.compile(r"maze-(\d+)(?:-(0?\.\d+|0))?")
_ADDITION = re.compile(r"addition-(\d+)")


def puzzle_task(name: str) -> PuzzleTask:
    """Return the task of a name, for example `sudoku-6`, `sudoku-9-30-36` (clues), `maze-10` or `addition-2`.

    Raises:
        ValueError: no task has this name.
    """
    if match := _SUDOKU.fullmatch(name):
        clues = (int(match[2]), int(match[3])) if match[2] else None
        return Sudoku(int(match[1]), clues=clues)
    if match := _MAZE.fullmatch(name):
        return Maze(int(match[1]), walls=float(match[2])) if match[2] else Maze(int(match[1]))
    if match := _ADDITION.fullmatch(name):
        return Addition(int(match[1]))
    raise ValueError(f"no puzzle is called {name!r}; names are sudoku-6, sudoku-9-30-36, maze-10, addition-2 and so on")
