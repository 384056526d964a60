"""Work that is done in worker processes, shown while it goes on, and taken up again where it was stopped.

A job writes one JSON-Lines file, whose lines are its progress, and knows how to go on with a file that is already
there: `sightline.retrieval.jsonl.DurableLines` appends lines and cuts off what a crash left half-written.
"""

from __future__ import annotations

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

from lab.run import RunDirectory

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One piece of work."""

    file: Path
    """JSON-Lines file that it writes."""
    total: int
    """Lines when it is complete."""
    work: Callable[..., None]
    """Function of a module, called in a worker process."""
    arguments: tuple[Any, ...]
    """Arguments of the function."""
    after: Job | None = None
    """Job of the same stage that must be done before; None if any time will do."""


class Workers:
    """Processes of one thread each, started when they are first needed.

    Args:
        processes: number of processes; the results of jobs must not depend on it.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    @classmethod
    @contextmanager
    def of(cls, processes: int) -> Generator[Workers]:
        """Yield workers that end with the block."""
        workers = cls(processes)
        try:
            yield workers
        finally:
            if workers._pool is not None:
                workers._pool.shutdown(cancel_futures=True)

    def stage(self, run: RunDirectory, stage: str, jobs: Callable[[Path], Sequence[Job]], variant: str = "") -> Path:
        """Do jobs as a stage of a run and return the stage's folder.

        Args:
            run: run that the stage belongs to.
            stage: name of the stage.
            jobs: function that gives the jobs for a folder that outlives a stopped run, so that they can go on. They
                begin in this order, those that wait for another at the end, so that long ones should come first.
            variant: what tells stages of one name apart.

        Raises:
            RuntimeError: a job ended, or never began, before its file was complete.
        """

        def compute(folder: Path) -> None:
            work = run.work_folder(stage, variant)
            self._do(folder.name, jobs(work))
            shutil.copytree(work, folder, dirs_exist_ok=True)

        return run.stage(stage, compute, variant)

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
        if short := [job.file.name for job in jobs if _lines(job.file) < job.total]:
            raise RuntimeError(f"{name}: these files have fewer lines than their jobs promised: {', '.join(short)}")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _prepare_worker() -> None:
    """Give a worker one thread, and let it end with the main process, as a resumed run must be alone with its files."""
    # The work is imported after this, and PyTorch with it: it reads how many threads it may have when it is loaded.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker

    def follow() -> None:
        wait_for_process([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
