"""Work that is done in worker processes, shown while it goes on, and taken up again where it was stopped.

A job writes one JSON-Lines file, whose lines are its progress. It knows how to go on with a file that is already there.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_process
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sightline.agents.runs import RunDirectory
from sightline.tamiyo_policy.experiment import GrowthRecord

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        file: the JSON-Lines file that it writes.
        total: lines when it is complete.
        work: a function of a module, called in a worker process.
        arguments: of the function.
        after: a job of the same stage that must be done before; None if any time will do.
    """

    file: Path
    total: int
    work: Callable[..., None]
    arguments: tuple[Any, ...]
    after: Job | None = None


class Workers:
    """Processes of one thread each, started when they are first needed."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    @classmethod
    @contextmanager
    def of(cls, processes: int) -> Generator[Workers]:
        """Workers that end with the block."""
        workers = cls(processes)
        try:
            yield workers
        finally:
            if workers._pool is not None:
                workers._pool.shutdown(cancel_futures=True)

    def stage(self, run: RunDirectory, name: str, jobs: Callable[[Path], Sequence[Job]]) -> Path:
        """Do jobs as a stage of a run and return the stage's folder.

        Args:
            run: whose stage.
            name: of the stage.
            jobs: gives the jobs for a folder that outlives a stopped run, so that they can go on. They begin in this
                order, those that wait for another at the end, so that long ones should come first.
        """

        def compute(folder: Path) -> None:
            work = run.path / "work" / name
            work.mkdir(parents=True, exist_ok=True)
            self._do(name, jobs(work))
            shutil.copytree(work, folder, dirs_exist_ok=True)

        folder = run.stage(name, compute)
        shutil.rmtree(run.path / "work" / name, ignore_errors=True)
        return folder

    def _do(self, name: str, jobs: Sequence[Job]) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker
            )
        pool = self._pool
        running: dict[Future[None], Job] = {}

        def begin(before: Job | None) -> None:
            for job in jobs:
                if job.after is before:
                    running[pool.submit(job.work, *job.arguments)] = job

        begin(None)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress:
            bar = progress.add_task(name, total=sum(job.total for job in jobs))
            while running:
                for future in wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                    future.result()
                    begin(running.pop(future))
                progress.update(bar, completed=sum(_lines(job.file) for job in jobs))


def append_records(file: Path, records: Sequence[GrowthRecord]) -> None:
    """Add lines to a file and wait until they are on the disk."""
    with file.open("ab") as opened:
        opened.write(b"".join(record.model_dump_json().encode() + b"\n" for record in records))
        opened.flush()
        os.fsync(opened.fileno())


def keep_whole_stacks(file: Path, stack: int, total: int) -> int:
    """Cut a file back to the stacks that were written to their end; how many records are left."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    complete = len([line for line in lines if line.endswith(b"\n")])
    kept = complete if complete == total else complete // stack * stack
    if kept < len(lines):
        with file.open("r+b") as opened:
            opened.truncate(sum(len(line) for line in lines[:kept]))
    return kept


def read_records(file: Path) -> list[GrowthRecord]:
    """The records of a complete file."""
    return [GrowthRecord.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _prepare_worker() -> None:
    """One thread for tensors, and no life after the main process, as a resumed run must be alone with its files."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker

    def follow() -> None:
        wait_for_process([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
