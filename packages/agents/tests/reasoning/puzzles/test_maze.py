from __future__ import annotations

import itertools

import numpy as np
import pytest

from sightline.agents.reasoning import Maze, PuzzleError

WALL, FLOOR, START, GOAL, PATH = range(5)


def shortest_paths(tokens: np.ndarray, side: int) -> tuple[int, int]:
    """Steps and number of shortest paths, from powers of the adjacency matrix."""
    open_cells = tokens != WALL
    adjacent = np.zeros((side * side, side * side), dtype=object)
    for cell, other in itertools.combinations(range(side * side), 2):
        (row, column), (other_row, other_column) = divmod(cell, side), divmod(other, side)
        near = abs(row - other_row) + abs(column - other_column) == 1
        if near and open_cells[cell] and open_cells[other]:
            adjacent[cell, other] = adjacent[other, cell] = 1
    walks = np.zeros(side * side, dtype=object)
    walks[int(np.flatnonzero(tokens == START)[0])] = 1
    goal = int(np.flatnonzero(tokens == GOAL)[0])
    for steps in range(side * side):
        if walks[goal]:
            return steps, walks[goal]
        walks = adjacent @ walks
    return -1, 0


def test_mazes_have_one_shortest_path_of_the_marked_length_by_matrix_powers() -> None:
    task = Maze(5)
    batch = task.sample(np.random.default_rng(0), 30)
    for tokens, answer in zip(batch.inputs, batch.targets, strict=True):
        steps, paths = shortest_paths(tokens, 5)
        assert paths == 1
        assert steps >= 5
        assert (answer == PATH).sum() == steps - 1
    assert task.is_solution(batch.inputs, batch.targets).all()


def test_all_sixteen_images_share_the_class_and_keep_the_answer() -> None:
    task = Maze(5)
    rng = np.random.default_rng(1)
    one = task.sample(rng, 1)
    many = task.augment(rng, one[np.zeros(300, dtype=np.int64)])
    assert len({row.tobytes() for row in many.inputs}) == 16
    assert (task.groups(many.inputs) == one.group).all()
    assert task.is_solution(many.inputs, many.targets).all()


def test_the_canonical_image_is_the_smallest() -> None:
    task, rng = Maze(5), np.random.default_rng(1)
    many = task.augment(rng, task.sample(rng, 1)[np.zeros(300, dtype=np.int64)])
    smallest = min(row.astype(np.uint8).tobytes() for row in many.inputs)
    assert task.canonical(many.inputs[:2]) == [smallest, smallest]


def test_classes_differ_for_different_mazes() -> None:
    assert len(set(Maze(10).sample(np.random.default_rng(2), 200).group.tolist())) == 200


def test_any_shortest_path_counts_and_nothing_else() -> None:
    task = Maze(4, walls=0)
    grid = np.full((1, 16), FLOOR)
    grid[0, 0], grid[0, 5] = START, GOAL
    for corner, right in ((1, True), (4, True), (2, False), (None, False)):
        answer = grid.copy()
        if corner is not None:
            answer[0, corner] = PATH
        assert task.is_solution(grid, answer)[0] == right
    both = grid.copy()
    both[0, [1, 4]] = PATH
    assert not task.is_solution(grid, both)[0]
    moved = grid.copy()
    moved[0, 1], moved[0, 15] = PATH, WALL
    assert not task.is_solution(grid, moved)[0]
    assert task.solve(grid).count[0] == 2


def test_a_goal_out_of_reach_has_no_answer() -> None:
    task = Maze(4)
    grid = np.full((1, 16), WALL)
    grid[0, 0], grid[0, 15] = START, GOAL
    assert task.solve(grid).count[0] == 0
    assert not task.is_solution(grid, grid)[0]
    with pytest.raises(PuzzleError, match="puzzle 0 has no answer"):
        task.check(grid)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({0: START}, "puzzle 0: a maze needs one goal"),
        ({0: START, 1: START, 2: GOAL}, "puzzle 0, cell 1: a maze has 1 start"),
        ({0: START, 1: GOAL, 2: PATH}, "puzzle 0, cell 2: a maze has no path cell"),
    ],
)
def test_malformed_mazes_are_refused_by_example_and_cell(cells: dict[int, int], message: str) -> None:
    grid = np.full((1, 16), FLOOR)
    for cell, token in cells.items():
        grid[0, cell] = token
    with pytest.raises(PuzzleError, match=message):
        Maze(4).check(grid)


@pytest.mark.parametrize(("side", "walls"), [(3, 0.3), (10, 0.5)])
def test_impossible_kinds_are_refused(side: int, walls: float) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        Maze(side, walls=walls)
