from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.reasoning import PuzzleBatch, PuzzleError, Sudoku


def count_by_exact_cover(cells: list[int], side: int, box: tuple[int, int], limit: int = 2) -> int:
    """Count solutions by Knuth's Algorithm X over sets: rows are (cell, digit), columns are the four constraints."""
    high, wide = box

    def constraints(cell: int, digit: int) -> tuple[tuple[str, int, int], ...]:
        row, column = divmod(cell, side)
        block = row // high * (side // wide) + column // wide
        return (("cell", cell, 0), ("row", row, digit), ("column", column, digit), ("block", block, digit))

    choices = {
        (cell, digit): constraints(cell, digit)
        for cell in range(side * side)
        for digit in range(1, side + 1)
        if cells[cell] in (0, digit)
    }
    columns: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for choice, covered in choices.items():
        for column in covered:
            columns.setdefault(column, set()).add(choice)
    wanted = {
        column for cell in range(side * side) for digit in range(1, side + 1) for column in constraints(cell, digit)
    }
    if set(columns) != wanted:
        return 0

    def search(left: dict[tuple[str, int, int], set[tuple[int, int]]]) -> int:
        if not left:
            return 1
        column = min(left, key=lambda name: len(left[name]))
        found = 0
        for choice in left[column]:
            covered = set(choices[choice])
            gone = set().union(*(left[name] for name in covered))
            found += search({name: rows - gone for name, rows in left.items() if name not in covered})
            if found >= limit:
                break
        return found

    return min(search(columns), limit)


def images_by_hand(side: int, box: tuple[int, int]) -> list[list[int]]:
    """All cell rearrangements that map rows, columns and boxes onto rows, columns and boxes, by trying all orders."""
    high, wide = box

    def keeps_bands(order: tuple[int, ...], thick: int) -> bool:
        return all(
            len({line // thick for line in order[start : start + thick]}) == 1 for start in range(0, side, thick)
        )

    lines = list(itertools.permutations(range(side)))
    rows = [order for order in lines if keeps_bands(order, high)]
    columns = [order for order in lines if keeps_bands(order, wide)]
    images = [[row * side + column for row in order for column in across] for order in rows for across in columns]
    if high == wide:
        images += [[image[column * side + row] for row in range(side) for column in range(side)] for image in images]
    return images


@pytest.mark.parametrize("task", [Sudoku(4), Sudoku(6), Sudoku(9, clues=(30, 36))], ids=lambda task: task.name)
def test_puzzles_have_one_answer_by_an_independent_count(task: Sudoku) -> None:
    batch = task.sample(np.random.default_rng(1), 12)
    assert [count_by_exact_cover(cells, task.side, task.box) for cells in batch.inputs.tolist()] == [1] * 12
    assert task.is_solution(batch.inputs, batch.targets).all()


def test_no_clue_of_a_minimal_puzzle_can_be_left_out() -> None:
    task = Sudoku(6)
    for cells in task.sample(np.random.default_rng(2), 5).inputs.tolist():
        for cell in np.flatnonzero(cells):
            fewer = list(cells)
            fewer[cell] = 0
            assert count_by_exact_cover(fewer, task.side, task.box) == 2


def test_the_number_of_clues_is_as_asked_for() -> None:
    clues = (Sudoku(9, clues=(30, 36)).sample(np.random.default_rng(3), 40).inputs > 0).sum(axis=1)
    assert clues.min() >= 30
    assert clues.max() <= 36
    assert len(set(clues.tolist())) > 2


def test_the_solver_counts_solutions_as_exact_cover_does() -> None:
    task = Sudoku(4)
    rng = np.random.default_rng(4)
    puzzles = task.sample(rng, 60).inputs
    puzzles[rng.random(puzzles.shape) < 0.1] = 0
    exact = task.solve(puzzles)
    assert exact.count.tolist() == [count_by_exact_cover(cells, 4, (2, 2)) for cells in puzzles.tolist()]
    assert {1, 2} <= set(exact.count.tolist())
    solved = exact.count > 0
    assert task.is_solution(puzzles[solved], exact.targets[solved]).all()


def test_nothing_is_guessed_exactly_where_naked_singles_suffice() -> None:
    task = Sudoku(6)
    batch = task.sample(np.random.default_rng(5), 60)

    def singles_suffice(cells: list[int]) -> bool:
        cells = list(cells)
        changed = True
        while changed:
            changed = False
            for cell in range(36):
                if cells[cell]:
                    continue
                seen = {cells[other] for unit in task.units if cell in unit for other in unit}
                left = set(range(1, 7)) - seen
                if len(left) == 1:
                    cells[cell] = left.pop()
                    changed = True
        return all(cells)

    guessed = task.solve(batch.inputs).guesses > 0
    assert guessed.tolist() == [not singles_suffice(cells) for cells in batch.inputs.tolist()]
    assert 0 < guessed.sum() < 60


@pytest.mark.parametrize("task", [Sudoku(4), Sudoku(6), Sudoku(9, clues=(40, 50))], ids=lambda task: task.name)
def test_symmetric_images_share_the_class_and_keep_the_answer(task: Sudoku) -> None:
    rng = np.random.default_rng(6)
    one = task.sample(rng, 1)
    many = task.augment(rng, one[np.zeros(200, dtype=np.int64)])
    assert len({row.tobytes() for row in many.inputs}) > 100
    assert (task.groups(many.inputs) == one.group).all()
    assert task.is_solution(many.inputs, many.targets).all()


def test_classes_of_side_4_are_those_found_by_trying_every_symmetry() -> None:
    task = Sudoku(4)
    puzzles = task.sample(np.random.default_rng(7), 40).inputs
    images = images_by_hand(4, (2, 2))
    relabellings = list(itertools.permutations(range(1, 5)))
    orbits = [
        {bytes((0, *labels)[puzzle[cell]] for cell in image) for image in images for labels in relabellings}
        for puzzle in puzzles[:12].tolist()
    ]
    group = task.groups(puzzles)
    for first, orbit in enumerate(orbits):
        for second in range(40):
            assert (group[first] == group[second]) == (bytes(puzzles[second].tolist()) in orbit)


def test_random_puzzles_of_side_9_fall_into_classes_of_their_own() -> None:
    assert len(set(Sudoku(9, clues=(40, 50)).sample(np.random.default_rng(8), 100).group.tolist())) == 100


@settings(max_examples=40, deadline=None)
@given(cell=st.integers(0, 35), digit=st.integers(0, 6), seed=st.integers(0, 5))
def test_an_answer_counts_only_if_it_keeps_clues_and_rules(cell: int, digit: int, seed: int) -> None:
    task = Sudoku(6)
    batch = task.sample(np.random.default_rng(seed), 1)
    changed = batch.targets.copy()
    changed[0, cell] = digit
    assert task.is_solution(batch.inputs, changed)[0] == (digit == batch.targets[0, cell])


def test_another_puzzles_answer_is_no_answer() -> None:
    task = Sudoku(6)
    batch = task.sample(np.random.default_rng(9), 2)
    assert not task.is_solution(batch.inputs, batch.targets[::-1]).any()


def test_contradictory_clues_are_refused_by_example_and_cell() -> None:
    task = Sudoku(4)
    batch = task.sample(np.random.default_rng(10), 2)
    puzzle = np.zeros((2, 16), dtype=np.int64)
    puzzle[0] = batch.inputs[0]
    puzzle[1, [1, 13]] = 3
    with pytest.raises(PuzzleError, match="puzzle 1, cell 13: 3 is already in its row, column or box"):
        task.check(puzzle)


def test_ambiguous_and_impossible_puzzles_are_refused_unless_uniqueness_is_not_asked_for() -> None:
    task = Sudoku(4)
    empty = np.zeros((1, 16), dtype=np.int64)
    with pytest.raises(PuzzleError, match="puzzle 0 has several answers"):
        task.check(empty)
    assert (task.check(empty, unique=False) == empty).all()
    impossible = empty.copy()
    impossible[0, [0, 1, 2, 7]] = (1, 2, 3, 4)  # cell 3 has nothing left
    with pytest.raises(PuzzleError, match="puzzle 0 has no answer"):
        task.check(impossible)
    assert task.solve(impossible).count[0] == 0


@pytest.mark.parametrize(
    ("puzzles", "message"),
    [
        (np.zeros((1, 15), dtype=np.int64), r"\[B, 16\] tokens, but the array is \[1, 15\]"),
        (np.zeros(16, dtype=np.int64), r"but the array is \[16\]"),
        (np.zeros((1, 16)), "are integers, but the array is float64"),
        (np.full((1, 16), -1), "puzzle 0, cell 0: -1 is no token of sudoku-4, which has 0 to 4"),
        (np.eye(1, 16, 3, dtype=np.int64) * 5, "puzzle 0, cell 3: 5 is no token"),
    ],
)
def test_malformed_puzzles_are_refused_with_the_reason(puzzles: np.ndarray, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        Sudoku(4).check(puzzles)


@pytest.mark.parametrize(
    ("side", "clues", "message"),
    [(5, None, "side must be one of"), (9, (40, 30), "clues must be a range"), (4, (3, 5), "clues must be a range")],
)
def test_impossible_kinds_are_refused(side: int, clues: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sudoku(side, clues=clues)


def test_a_batch_can_be_cut_and_joined() -> None:
    batch = Sudoku(4).sample(np.random.default_rng(11), 5)
    joined = PuzzleBatch.concatenate([batch[:2], batch[np.array([2, 3, 4])]])
    assert (joined.inputs == batch.inputs).all()
    assert (joined.targets == batch.targets).all()
    assert (joined.group == batch.group).all()


def test_candidates_are_what_rows_columns_and_boxes_leave() -> None:
    task = Sudoku(6)
    cells = task.sample(np.random.default_rng(12), 1).inputs[0].tolist()
    expected = {
        cell: sorted(set(range(1, 7)) - {cells[other] for unit in task.units if cell in unit for other in unit})
        for cell in range(36)
        if not cells[cell]
    }
    assert task.candidates(cells) == expected
