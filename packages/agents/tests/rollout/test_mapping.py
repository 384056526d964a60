from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutError
from sightline.agents.rollout.journal import JournalError
from sightline.agents.rollout.processes import ProcessEngine

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_results_come_in_the_order_of_the_items_from_every_engine(toys: ModuleType, engine: Any) -> None:
    expected = [number * number for number in range(20)]
    told: list[int] = []
    assert InProcessEngine().map(toys.square, range(20)) == expected
    assert engine(3).map(toys.square, range(20), progress=told.append) == expected
    assert sum(told) == 20
    assert engine(2).map(lambda number: number + len(expected), [1, 2]) == [21, 22]
    assert engine(1).map(toys.square, []) == []


def test_an_item_whose_worker_dies_is_done_by_another(toys: ModuleType, engine: Any, tmp_path: Path) -> None:
    (tmp_path / "once").touch()
    function = partial(toys.square_or_die, folder=tmp_path, deadly=3)
    assert engine(2).map(function, range(6)) == [number * number for number in range(6)]
    (tmp_path / "once").unlink()
    with pytest.raises(RolloutError, match="two workers died over the item 3"):
        engine(2).map(function, range(6))


def test_what_a_function_raises_ends_the_work_with_its_traceback(toys: ModuleType, engine: Any) -> None:
    with pytest.raises(RolloutError, match="no idea of 0"):
        engine(1).map(toys.refuse, range(3))
    with pytest.raises(LookupError, match="no idea of 0"):
        InProcessEngine().map(toys.refuse, range(3))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_item_begins_after_the_one_that_it_waits_for(toys: ModuleType, tmp_path: Path, count: int) -> None:
    engine = ProcessEngine(count) if count else InProcessEngine()
    names = ["last", "first", "second", "free"]
    engine.map(partial(toys.note, folder=tmp_path), names, after={0: 2, 2: 1})
    done = (tmp_path / "done").read_text().split()
    assert sorted(done) == sorted(names)
    assert done.index("first") < done.index("second") < done.index("last")
    with pytest.raises(ValueError, match="2 items wait for others that never come"):
        engine.map(partial(toys.note, folder=tmp_path), names, after={0: 2, 2: 0})


def test_a_journal_keeps_results_and_only_the_others_are_computed(tmp_path: Path, toys: ModuleType) -> None:
    path = tmp_path / "journal"
    expected = InProcessEngine().map(toys.pair, range(5), journal=path, result_type=toys.Pair)
    assert expected == [toys.pair(number) for number in range(5)]
    content = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(content) + 1):
        path.write_bytes(b"".join(content[:kept])[: -3 if kept > 1 else None])
        assert ProcessEngine(1).map(toys.pair, range(5), journal=path, result_type=toys.Pair) == expected
    with pytest.raises(JournalError, match="other items"):
        InProcessEngine().map(toys.pair, range(6), journal=path, result_type=toys.Pair)
    with pytest.raises(JournalError, match="other work"):
        InProcessEngine().map(toys.square, range(5), journal=path)
