"""Rollouts over worker processes of this machine.

This module knows nothing of what is played; `supervision.py` decides who plays it.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pickle import PicklingError
from typing import TYPE_CHECKING

from sightline.agents.rollout.in_process import Player
from sightline.agents.rollout.job import Batches, PlayedBatch, ProgressFn, RolloutError, RolloutJob
from sightline.agents.rollout.supervision import Supervision, WorkerDeathError

if TYPE_CHECKING:
    from sightline.agents.trajectory import Trajectory

_JOIN_SECONDS = 5.0
_SHOWN_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class ProcessEngine:
    """Plays batches in processes of their own, one thread each.

    A script that uses them needs the usual `if __name__ == "__main__":`.

    Raises:
        ValueError: `count` is not positive.
    """

    count: int
    """Most processes at a time."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count should be at least 1, not {self.count!r}")

    def play(self, job: RolloutJob, batches: Batches, progress: ProgressFn) -> Generator[PlayedBatch]:
        """Play every batch.

        Raises:
            RolloutError: a worker could not begin, or the agent raised; the message has the worker's traceback.
            TypeError: the job cannot be sent to another process.
        """
        return Supervision(lambda: _Process(job), _with_news, job, batches, progress).run(self.count)


class _Process:
    """A worker process, seen from its parent."""

    def __init__(self, job: RolloutJob) -> None:
        # Started afresh, since the fork of a process with threads (NumPy's, PyTorch's) may hang.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, job), daemon=True)
        try:
            self._process.start()
        except (PicklingError, AttributeError, TypeError) as error:
            self.connection.close()
            raise TypeError(
                f"the job cannot be sent to another process ({error}); make its functions those of an importable "
                "module, or functools.partial of them, rather than lambdas or functions inside functions"
            ) from error
        finally:
            theirs.close()

    def begin(self, goals: Sequence[int]) -> None:
        with suppress(OSError):  # it died since; receive() will say so
            self.connection.send(list(goals))

    def receive(self) -> tuple[int, Trajectory] | None:
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_JOIN_SECONDS)
            raise WorkerDeathError(
                f"its process ended with exit code {self._process.exitcode}. If that was at the start of a script, "
                "guard the script's own start with: if __name__ == '__main__':"
            ) from None
        if isinstance(message, str):
            raise RolloutError(f"a worker's job raised:\n{message}")
        return message

    def close(self) -> None:
        self.connection.close()  # which ends an idle worker's loop
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _with_news(workers: Sequence[_Process]) -> list[_Process]:
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def use_one_thread() -> None:
    """Keep workers from contending for the same cores, if PyTorch is in use at all."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _work(connection: Connection, job: RolloutJob) -> None:
    """Live as a worker: make the player, then play batches until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end takes this process along
    try:
        player = Player(job)
        use_one_thread()
        connection.send(None)
        while True:
            for message in player.play(connection.recv()):
                connection.send(message)
            connection.send(None)
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        with suppress(OSError):
            connection.send(traceback.format_exc()[-_SHOWN_CHARACTERS:])
