"""Puzzles with one answer each: sources, symmetries, rules and exact solvers, in NumPy and plain Python."""

from sightline.agents.reasoning.puzzles.addition import Addition
from sightline.agents.reasoning.puzzles.maze import Maze
from sightline.agents.reasoning.puzzles.names import puzzle_task
from sightline.agents.reasoning.puzzles.sudoku import Sudoku
from sightline.agents.reasoning.puzzles.tasks import (
    IGNORE,
    ExactSolutions,
    PuzzleBatch,
    PuzzleError,
    PuzzleTask,
    clear_cells,
    split_by_class,
)

__all__ = [
    "IGNORE",
    "Addition",
    "ExactSolutions",
    "Maze",
    "PuzzleBatch",
    "PuzzleError",
    "PuzzleTask",
    "Sudoku",
    "clear_cells",
    "puzzle_task",
    "split_by_class",
]
