"""Several server processes over one shop, each with an address and sessions of its own.

A session lives in the memory of the process that opened it. Behind one address every request would have to be passed
on to that process, which costs a hop and ties their fates together; with an address for each process nothing is
shared but the shop, and a client stays where it began. The processes are forks: they share the shop's memory, files
that are mapped and products that are not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from socket import socket
from typing import TYPE_CHECKING, Final, Never

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

ServeFn = Callable[[socket], None]
"""Serves on a socket that listens, until SIGINT or SIGTERM."""

_SHORTEST_LIFE: Final = 5.0
"""Seconds; a process that ends sooner by itself would end again."""

_SECONDS_TO_STOP: Final = 10.0


class WorkerError(RuntimeError):
    """The server processes cannot be started, or one of them ended as soon as it began."""


def serve_in_processes(sockets: Sequence[socket], serve: ServeFn) -> None:
    """Serve on each socket in a process of its own until this one gets SIGINT or SIGTERM.

    A process that ends before that is started again on its socket; its sessions are lost, those of the others go on.
    All processes end with this one, however it ends.

    Args:
        sockets: sockets that listen, one for each process.
        serve: function that a process runs.

    Raises:
        WorkerError: this system has no `fork`, or a process ended within seconds of its start.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise WorkerError("this system cannot fork processes: start a server on each of several ports instead")
    # Waited for by a handler that raises: a wait that a signal interrupts is taken up again otherwise.
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    workers: dict[int, tuple[ForkProcess, float]] = {}
    try:
        for place in range(len(sockets)):
            workers[place] = _start(sockets, place, serve), time.monotonic()
        while True:
            ended = wait([worker.sentinel for worker, _ in workers.values()])
            for place, (worker, started) in list(workers.items()):
                if worker.sentinel in ended:
                    worker.join()
                    if time.monotonic() - started < _SHORTEST_LIFE:
                        raise WorkerError(f"server process {place} ended as soon as it began: {worker.exitcode}")
                    sys.stderr.write(f"server process {place} ended ({worker.exitcode}) and is started again\n")
                    workers[place] = _start(sockets, place, serve), time.monotonic()
    except _StopError:
        pass
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        _end([worker for worker, _ in workers.values()])
        for number, handler in before.items():
            signal.signal(number, handler)


class _StopError(Exception):
    """Someone asked the server to stop."""


def _stop(number: int, frame: object) -> Never:
    raise _StopError


def _start(sockets: Sequence[socket], place: int, serve: ServeFn) -> ForkProcess:
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(sockets, place, serve))
    worker.start()
    return worker


def _work(sockets: Sequence[socket], place: int, serve: ServeFn) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for other, unused in enumerate(sockets):
        if other != place:
            unused.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(sockets[place])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _end(workers: Sequence[ForkProcess]) -> None:
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + _SECONDS_TO_STOP
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()
