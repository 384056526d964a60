"""Work over worker processes of this machine.

This module knows nothing of what is done; `supervision.py` decides who does it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

import cloudpickle

from sightline.agents.rollout.job import Batches, DoneBatch, Item, ProgressFn, Result, RolloutError, Work
from sightline.agents.rollout.mapping import MapMethod
from sightline.agents.rollout.supervision import Supervision, WorkerDeathError

_JOIN_SECONDS = 5.0
_SHOWN_CHARACTERS = 4000
_OVER = b""  # in place of a batch: this work is over


@dataclass(frozen=True, slots=True)
class ProcessEngine(MapMethod):
    """Does batches in processes of their own, one thread each.

    A script that uses them needs the usual `if __name__ == "__main__":`.

    Raises:
        ValueError: `count` is not positive.
    """

    count: int
    """Most processes at a time."""
    _kept: list[_Process] | None = field(default=None, repr=False, compare=False)  # by `kept`

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count should be at least 1, not {self.count!r}")

    @contextmanager
    def kept(self) -> Generator[ProcessEngine]:
        """Yield an engine whose processes stay for its next work, with all that they imported, until the block ends."""
        kept: list[_Process] = []
        try:
            yield ProcessEngine(self.count, kept)
        finally:
            while kept:
                kept.pop().end()

    def run(
        self, work: Work[Item, Result], batches: Batches[Item], progress: ProgressFn
    ) -> Generator[DoneBatch[Result]]:
        """Do every batch.

        Raises:
            RolloutError: a worker could not begin, or what it called raised; the message has the worker's traceback.
            TypeError: the work cannot be sent to another process.
        """
        try:
            # What is in no importable module goes by value; the standard library's pickle refuses it.
            sent = cloudpickle.dumps(work.make_player)
        except Exception as error:
            raise TypeError(
                f"the work cannot be sent to another process ({error}); let its functions open files, connections and "
                "locks themselves rather than hold them"
            ) from error
        return Supervision(lambda: self._process(sent), _with_news, work, batches, progress).run(self.count)

    def _process(self, sent: bytes) -> _Process:
        """Return one that is kept, or a new one."""
        while self._kept:
            process = self._kept.pop()
            if process.begin_anew(sent):
                return process
        return _Process(sent, self._kept)


class _Process:
    """A worker process, seen from its parent.

    Args:
        sent: pickled function that makes the player.
        kept: where it waits for other work when it is closed; None if it ends then.
    """

    def __init__(self, sent: bytes, kept: list[_Process] | None) -> None:
        self._kept, self._busy = kept, True
        # Started afresh, since the fork of a process with threads (NumPy's, PyTorch's) may hang.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, sent), daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()

    def begin_anew(self, sent: bytes) -> bool:
        """Give it other work, for which it has to make ready; return whether it was still there."""
        self._busy = True
        try:
            self.connection.send_bytes(sent)
        except OSError:  # it died since
            self.end()
            return False
        return True

    def begin(self, batch: Sequence[Any]) -> None:
        self._busy = True
        with suppress(OSError):  # it died since; receive() will say so
            self.connection.send_bytes(cloudpickle.dumps(list(batch)))

    def receive(self) -> tuple[int, Any] | None:
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
        self._busy = message is not None
        return message

    def close(self) -> None:
        """Let it wait for other work if it is to be kept and has nothing to do, and end it otherwise."""
        if self._kept is None or self._busy:
            self.end()
            return
        with suppress(OSError):  # it died since; `begin_anew` will notice
            self.connection.send_bytes(_OVER)
        self._kept.append(self)

    def end(self) -> None:
        """Stop it, whatever it is doing."""
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


def _work(connection: Connection, sent: bytes) -> None:
    """Live as a worker: do one work after another until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end takes this process along
    _end_with_parent()
    # What is sent is imported after this, and PyTorch with it: it reads how many threads it may have when it is loaded.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        while True:
            _do(connection, sent)
            sent = connection.recv_bytes()
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        with suppress(OSError):
            connection.send(traceback.format_exc()[-_SHOWN_CHARACTERS:])


def _do(connection: Connection, sent: bytes) -> None:
    """Make the player, and do batches until this work is over; nothing of it stays in memory then."""
    player = cloudpickle.loads(sent)()
    use_one_thread()
    connection.send(None)
    while batch := connection.recv_bytes():
        for message in player.play(cloudpickle.loads(batch)):
            connection.send(message)
        connection.send(None)


def _end_with_parent() -> None:
    """End this process when its parent ends, even if that was killed: a run that is resumed is alone with its files."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=follow, daemon=True).start()
