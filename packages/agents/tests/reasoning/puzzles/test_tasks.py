from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.reasoning import Addition, Maze, PuzzleTask, Sudoku, leave_empty, puzzle_task, split_by_class

TASKS = [Sudoku(4), Sudoku(6), Sudoku(9), Sudoku(9, clues=(30, 36)), Maze(10), Maze(6, walls=0.2), Addition(2)]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_found_again_by_its_name(task: PuzzleTask) -> None:
    found = puzzle_task(task.name)
    assert type(found) is type(task)
    assert (found.name, found.length, found.vocabulary) == (task.name, task.length, task.vocabulary)
    assert vars(found).get("clues") == vars(task).get("clues")
    assert vars(found).get("walls") == vars(task).get("walls")


@pytest.mark.parametrize("name", ["sudoku", "sudoku-6-10", "chess-8", "maze-10-.3x", "sudoku-6\n"])
def test_an_unknown_name_is_refused_with_examples(name: str) -> None:
    with pytest.raises(ValueError, match="names are sudoku-6"):
        puzzle_task(name)


@pytest.mark.parametrize("task", [Sudoku(6), Maze(6), Addition(2)], ids=lambda task: task.name)
def test_ten_thousand_images_keep_the_rules(task: PuzzleTask) -> None:
    rng = np.random.default_rng(0)
    base = task.sample(rng, 50)
    many = task.augment(rng, base[rng.integers(0, 50, size=10_000)])
    assert task.is_solution(many.inputs, many.targets).all()


def test_parts_share_no_class_and_lose_no_training_puzzle() -> None:
    task = Addition(1)  # 55 classes, so that many puzzles share one
    batch = task.sample(np.random.default_rng(1), 400)
    parts = split_by_class(batch, {"validation": 10, "test": 12}, np.random.default_rng(2))
    classes = {name: set(part.group.tolist()) for name, part in parts.items()}
    assert (
        [len(parts[name]) for name in ("validation", "test")]
        == [10, 12]
        == [len(classes[name]) for name in ("validation", "test")]
    )
    held_out = classes["validation"] | classes["test"]
    assert len(held_out) == 22
    assert not held_out & classes["train"]
    assert len(parts["train"]) == sum(group not in held_out for group in batch.group.tolist())


def test_a_kind_with_too_few_classes_cannot_be_divided() -> None:
    batch = Sudoku(4).sample(np.random.default_rng(3), 300)
    with pytest.raises(ValueError, match=r"300 puzzles fall into \d+ classes"):
        split_by_class(batch, {"test": 200}, np.random.default_rng(4))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_easier_puzzles_leave_so_many_cells_empty_and_keep_their_answer(count: int) -> None:
    task = Sudoku(6)
    batch = task.sample(np.random.default_rng(5), 30)
    easier = leave_empty(task, batch, count, np.random.default_rng(6))
    assert (task.asked(easier.inputs).sum(axis=1) == count).all()
    assert ((batch.inputs == 0) | (batch.inputs == easier.inputs)).all()
    assert (task.solve(easier.inputs).targets == batch.targets).all()
