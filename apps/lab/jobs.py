"""Work that is done in worker processes, shown while it goes on, and taken up again where it was stopped.

A job writes one JSON-Lines file, whose lines are its progress, and knows how to go on with a file that is already
there: `sightline.retrieval.jsonl.DurableLines` appends lines and cuts off what a crash left half-written.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab.engine import AnyEngine, open_engine
from lab.run import RunDirectory
from lab.settings import EngineSettings

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
    """Workers of one thread each, unless the work is done in this process.

    Args:
        engine: what gives jobs to processes or, where all of its machines see the run's folder, to a cluster; the
            results of jobs must not depend on it.
    """

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine

    @classmethod
    @contextmanager
    def of(cls, settings: EngineSettings) -> Generator[Workers]:
        """Yield the workers that the settings ask for, which start once for all stages of the block."""
        with open_engine(settings) as engine:
            yield cls(engine)

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
            RolloutError: a job raised, or two workers died over it; the message has the worker's traceback.
        """

        def compute(folder: Path) -> None:
            work = run.work_folder(stage, variant).resolve()  # a cluster's workers stand in another folder
            self._do(folder.name, jobs(work))
            shutil.copytree(work, folder, dirs_exist_ok=True)

        return run.stage(stage, compute, variant)

    def _do(self, name: str, jobs: Sequence[Job]) -> None:
        possible = _with_what_they_wait_for(jobs)
        places = {id(job): place for place, job in enumerate(possible)}
        after = {places[id(job)]: places[id(job.after)] for job in possible if job.after is not None}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress:
            bar = progress.add_task(name, total=sum(job.total for job in jobs))
            with _watching(lambda: progress.update(bar, completed=sum(_lines(job.file) for job in jobs))):
                self._engine.map(_carry_out, [(job.work, job.arguments) for job in possible], after=after)
        if short := [job.file.name for job in jobs if _lines(job.file) < job.total]:
            raise RuntimeError(f"{name}: these files have fewer lines than their jobs promised: {', '.join(short)}")


def _carry_out(call: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
    work, arguments = call
    work(*arguments)


def _with_what_they_wait_for(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs without those that wait for one which is not among them."""
    possible = list(jobs)
    while True:
        known = {id(job) for job in possible} | {id(None)}
        kept = [job for job in possible if id(job.after) in known]
        if len(kept) == len(possible):
            return kept
        possible = kept


@contextmanager
def _watching(show: Callable[[], None]) -> Generator[None]:
    """Call a function twice a second, from a thread of its own, until the block ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            show()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
