from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.reasoning import (
    Addition,
    EmptyBufferError,
    Loader,
    PuzzleBatch,
    PuzzleBuffer,
    PuzzleError,
    Sudoku,
)

TASK = Addition(2)


def filled(count: int = 40, capacity: int = 100) -> PuzzleBuffer:
    buffer = PuzzleBuffer(TASK, capacity)
    buffer.add(TASK.sample(np.random.default_rng(0), count))
    return buffer


def test_an_empty_buffer_is_an_error_without_a_fallback() -> None:
    with pytest.raises(EmptyBufferError, match="give the loader a fallback"):
        Loader(PuzzleBuffer(TASK, 10), 4).take(1)


def test_with_a_fallback_its_share_is_reported_and_its_answers_are_true() -> None:
    buffer = PuzzleBuffer(TASK, 10)
    loader = Loader(buffer, 4, fallback=TASK)
    first = next(loader)
    assert TASK.is_solution(first.inputs.numpy(), first.targets["cells"].numpy()).all()
    assert loader.counts() == {"samples": 4, "distinct_samples": 4, "fallback_share": 1.0}
    buffer.add(TASK.sample(np.random.default_rng(1), 5))
    loader.take(12)
    assert loader.counts()["fallback_share"] == 0.25


def test_a_fallback_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="holds addition-2, so sudoku-4 cannot be its fallback"):
        Loader(PuzzleBuffer(TASK, 10), 4, fallback=Sudoku(4))


@pytest.mark.parametrize("augment", [True, False])
def test_a_loader_goes_on_exactly_where_it_stopped(augment: bool) -> None:
    loader = Loader(filled(), 7, augment=augment, seed=5)
    for count in (3, 7, 1):
        loader.take(count)
    state = loader.state_dict()
    copied = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
    expected = [loader.take(5) for _ in range(4)]
    resumed = Loader(PuzzleBuffer(TASK, 100), 7, augment=augment, seed=99)
    resumed.load_state_dict(copied)
    for batch in expected:
        again = resumed.take(5)
        assert torch.equal(batch.inputs, again.inputs)
        assert torch.equal(batch.targets["cells"], again.targets["cells"])
    assert resumed.counts() == loader.counts()
    assert (resumed.buffer.seen == loader.buffer.seen).all()


def test_drawn_images_are_right_answers() -> None:
    task = Sudoku(6)
    buffer = PuzzleBuffer(task, 20)
    batch = task.sample(np.random.default_rng(2), 20)
    buffer.add(batch)
    drawn = Loader(buffer, 64, seed=1).take(500)
    assert task.is_solution(drawn.inputs.numpy(), drawn.targets["cells"].numpy()).all()
    assert set(task.groups(drawn.inputs.numpy()).tolist()) == set(batch.group.tolist())
    plain = Loader(buffer, 64, augment=False, seed=1).take(500)
    known = {row.tobytes() for row in batch.inputs}
    assert {row.tobytes() for row in plain.inputs.numpy()} <= known
    assert not {row.tobytes() for row in drawn.inputs.numpy()} <= known


def test_priority_is_the_share_of_draws() -> None:
    task = Addition(1)
    inputs = np.array([[1, 1, 0, 0], [1, 2, 0, 0], [1, 3, 0, 0]])
    batch = PuzzleBatch(inputs, task.solve(inputs).targets, task.groups(inputs))
    buffer = PuzzleBuffer(task, 10)
    buffer.add(batch, priority=np.array([1.0, 2.0, 5.0]))
    drawn = buffer.sample(8000, np.random.default_rng(0)).inputs[:, 1] - 1
    np.testing.assert_allclose(np.bincount(drawn) / 8000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)
    assert buffer.seen.tolist() == np.bincount(drawn).tolist()


def test_a_puzzle_added_again_replaces_its_entry() -> None:
    task = Addition(1)
    inputs = np.array([[1, 1, 0, 0], [1, 2, 0, 0]])
    batch = PuzzleBatch(inputs, task.solve(inputs).targets, task.groups(inputs))
    buffer = PuzzleBuffer(task, 10)
    buffer.add(batch)
    buffer.add(batch[:1], priority=np.array([1e9]))
    assert len(buffer) == 2
    assert (buffer.sample(50, np.random.default_rng(0)).inputs == inputs[0]).all()


def test_a_full_buffer_is_a_uniform_sample_of_all_that_was_added() -> None:
    task = Addition(2)
    inputs = np.zeros((60, 7), dtype=np.int64)
    inputs[:, :4] = 1
    inputs[:, 2] = np.arange(60) // 10 + 1
    inputs[:, 3] = np.arange(60) % 10 + 1
    batch = PuzzleBatch(inputs, task.solve(inputs).targets, np.zeros(60, dtype=np.int64))
    kept = np.zeros(60)
    for seed in range(400):
        buffer = PuzzleBuffer(task, 10, seed=seed)
        buffer.add(batch[:25])
        buffer.add(batch[25:])
        assert len(buffer) == 10
        stored = buffer.state_dict()["inputs"].numpy().astype(np.int64)
        kept[(stored[:, 2] - 1) * 10 + stored[:, 3] - 1] += 1
    assert kept.sum() == 4000
    # 60 counts of a binomial with mean 66.7 and deviation 7.5; five deviations would be an accident.
    assert np.abs(kept - 400 / 6).max() < 5 * 7.5


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), max_size=6), capacity=st.integers(1, 20), seed=st.integers(0, 3))
def test_a_buffer_never_holds_too_much_nor_a_puzzle_twice(sizes: list[int], capacity: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = Addition(1)
    buffer = PuzzleBuffer(task, capacity, seed=seed)
    added: set[bytes] = set()
    for size in sizes:
        batch = task.sample(rng, size)
        buffer.add(batch)
        added |= {row.tobytes() for row in batch.inputs}
        stored = [row.tobytes() for row in buffer.state_dict()["inputs"].numpy().astype(np.int64)]
        assert len(stored) == len(set(stored)) == len(buffer) <= capacity
        assert set(stored) <= added
    if sizes and len(added) <= capacity:
        assert len(buffer) == len(added)


def test_wrong_answers_and_priorities_are_refused() -> None:
    batch = TASK.sample(np.random.default_rng(3), 3)
    wrong = PuzzleBatch(batch.inputs, np.roll(batch.targets, 1, axis=0), batch.group)
    buffer = PuzzleBuffer(TASK, 10)
    with pytest.raises(PuzzleError, match="puzzle 0 has a target that does not solve it"):
        buffer.add(wrong)
    with pytest.raises(ValueError, match="one positive number for each"):
        buffer.add(batch, priority=np.array([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="capacity must be positive"):
        PuzzleBuffer(TASK, 0)
    assert len(buffer) == 0


def test_a_saved_buffer_does_not_fit_into_a_smaller_one() -> None:
    state = filled(40).state_dict()
    with pytest.raises(ValueError, match="more than this one's capacity of 10"):
        PuzzleBuffer(TASK, 10).load_state_dict(state)
