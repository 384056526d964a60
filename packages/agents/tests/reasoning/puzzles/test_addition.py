from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.reasoning import Addition, PuzzleError


def number(tokens: np.ndarray) -> int:
    return int("".join(str(token - 1) for token in tokens))


def test_sums_are_those_of_python_integers() -> None:
    task = Addition(3)
    batch = task.sample(np.random.default_rng(0), 200)
    for question, answer in zip(batch.inputs, batch.targets, strict=True):
        assert number(answer[6:]) == number(question[:3]) + number(question[3:6])
    assert task.is_solution(batch.inputs, batch.targets).all()
    wrong = batch.targets.copy()
    wrong[:, -1] = wrong[:, -1] % 10 + 1
    assert not task.is_solution(batch.inputs, wrong).any()


def test_exchanged_numbers_are_one_class() -> None:
    task = Addition(2)
    rng = np.random.default_rng(1)
    one = task.sample(rng, 1)
    many = task.augment(rng, one[np.zeros(50, dtype=np.int64)])
    assert len({row.tobytes() for row in many.inputs}) == 2
    assert (task.groups(many.inputs) == one.group).all()
    assert task.is_solution(many.inputs, many.targets).all()
    assert len(set(task.sample(rng, 300).group.tolist())) > 200


def test_an_incomplete_number_has_no_answer() -> None:
    task = Addition(1)
    with pytest.raises(PuzzleError, match="puzzle 1 has no answer"):
        task.check(np.array([[2, 3, 0, 0], [0, 3, 0, 0]]))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="digits must be"):
        Addition(0)
