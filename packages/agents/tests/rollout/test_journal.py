from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutJob
from sightline.agents.rollout.journal import JournalError
from sightline.agents.rollout.rollout import roll_out, run_job
from sightline.agents.trajectory import Trajectory
from sightline.retrieval.jsonl import RecordError

GOALS = range(11)


def make_job(toys: ModuleType, **changes: Any) -> RolloutJob:
    arguments: dict[str, Any] = {"make_agent": toys.CompanyAgent, "agent_name": "company", "batch_size": 4} | changes
    make_environments = partial(toys.corridors, broken=[5])
    return RolloutJob(make_environments=make_environments, grammar=webshop_grammar, seed=0, max_steps=6, **arguments)


def run(job: RolloutJob, journal: Path | None, goals: Any = GOALS) -> list[Trajectory]:
    return run_job(job, goals, engine=InProcessEngine(), journal=journal, progress=False)


class Forbidden:
    """An engine that must not be asked."""

    def run(self, work: Any, batches: Any, progress: Any) -> Any:
        raise AssertionError("everything was played already")


def test_a_finished_journal_is_returned_without_playing(toys: ModuleType, tmp_path: Path) -> None:
    expected = run(make_job(toys), None)
    assert run(make_job(toys), tmp_path / "journal") == expected
    assert expected[5].error == "ConnectionError: the corridor burnt down"
    again = run_job(make_job(toys), GOALS, engine=Forbidden(), journal=tmp_path / "journal", progress=False)
    assert again == expected


def test_a_journal_cut_anywhere_resumes_to_the_same_journal_and_results(toys: ModuleType, tmp_path: Path) -> None:
    # CompanyAgent's probabilities show which episodes shared a call, so resuming must keep batches together.
    path = tmp_path / "journal"
    expected = run(make_job(toys), path)
    content = path.read_bytes()
    header = content.index(b"\n") + 1
    ends = [place for place in range(header, len(content)) if content[place - 1 : place] == b"\n"]
    assert len(ends) == 3
    for size in {*range(header, len(content), 97), *ends, *(end - 1 for end in ends[1:]), len(content) - 1}:
        path.write_bytes(content[:size])
        assert run(make_job(toys), path) == expected
        assert path.read_bytes() == content


def test_an_interrupted_rollout_keeps_its_finished_batches(toys: ModuleType, tmp_path: Path) -> None:
    calls = []

    class Interrupted(toys.CompanyAgent):
        def choose(self, situations: Any) -> Any:
            calls.append(len(situations))
            if len(calls) == 7:  # batches take five calls
                raise KeyboardInterrupt
            return super().choose(situations)

    with pytest.raises(KeyboardInterrupt):
        run(make_job(toys, make_agent=Interrupted), tmp_path / "journal")
    assert len((tmp_path / "journal").read_bytes().splitlines()) == 2
    assert run(make_job(toys, make_agent=Interrupted), tmp_path / "journal") == run(make_job(toys), None)
    assert sum(calls) == sum(len(one.steps) for one in run(make_job(toys), None)) + calls[5] + calls[6] + 1


@pytest.mark.parametrize(
    ("changes", "goals", "message"),
    [
        ({"batch_size": 5}, GOALS, "batch_size: 4 there, 5 now"),
        ({"expert": len}, GOALS, "expert: False there, True now"),
        ({}, range(12), r"goals: \(0, 1, .*\) there"),
        ({"agent_name": "hash"}, GOALS, "agent: 'company' there, 'hash' now"),
    ],
)
def test_another_rollouts_journal_is_refused_and_left_alone(
    toys: ModuleType, tmp_path: Path, changes: dict[str, Any], goals: range, message: str
) -> None:
    path = tmp_path / "journal"
    run(make_job(toys), path)
    content = path.read_bytes()
    with pytest.raises(JournalError, match=message):
        run(make_job(toys, **changes), path, goals)
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"batch": 7, "episodes": []}\n', b'{"batch": -1, "episodes": []}\n'])
def test_a_complete_line_that_is_no_batch_is_an_error_and_not_removed(
    toys: ModuleType, tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "journal"
    run(make_job(toys), path)
    content = path.read_bytes() + line
    path.write_bytes(content)
    with pytest.raises(RecordError, match="journal, line 5"):
        run(make_job(toys), path)
    assert path.read_bytes() == content


def test_a_batch_is_on_disk_before_the_next_begins(
    toys: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    run(make_job(toys), tmp_path / "journal")
    lines = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    assert synced == [sum(map(len, lines[: number + 1])) for number in range(len(lines))]


def test_roll_out_keeps_a_journal_too(toys: ModuleType, tmp_path: Path) -> None:
    first, again = (
        roll_out(
            toys.corridors(3),
            toys.HashAgent(),
            GOALS,
            webshop_grammar,
            seed=1,
            max_steps=6,
            journal=tmp_path / "journal",
        )
        for _ in range(2)
    )
    assert first == again
    assert len((tmp_path / "journal").read_bytes().splitlines()) == 1 + 4
