from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sightline.agents.reasoning import Examples
from sightline.agents.reasoning.training.examples import IterableSource


def numbered(sizes: list[int]) -> Iterator[Examples]:
    start = 0
    for size in sizes:
        numbers = torch.arange(start, start + size)
        yield Examples(numbers[:, None], {"twice": 2 * numbers})
        start += size


def test_batches_of_any_size_are_given_in_order() -> None:
    source = IterableSource(numbered([3, 5, 2, 7, 9]))
    taken = [source.take(count) for count in (1, 6, 4, 2)]
    assert [part.inputs[:, 0].tolist() for part in taken] == [[0], [1, 2, 3, 4, 5, 6], [7, 8, 9, 10], [11, 12]]
    assert all(torch.equal(2 * part.inputs[:, 0], part.targets["twice"]) for part in taken)
    assert source.counts() == {"samples": 13}


def test_what_is_left_of_a_batch_is_part_of_the_state() -> None:
    source = IterableSource(numbered([5, 5]))
    source.take(3)
    resumed = IterableSource(numbered([5, 5]))
    next(iter(numbered([5])))
    resumed.load_state_dict(source.state_dict())
    assert resumed.take(2).inputs[:, 0].tolist() == [3, 4]
    assert resumed.counts() == {"samples": 5}


@pytest.mark.parametrize("sizes", [[2], [2, 0]])
def test_an_iterable_that_ends_is_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="needs an endless one"):
        IterableSource(numbered(sizes)).take(3)
