"""The writer's lock of a store: held by one process, waited for if asked, and not let go of by a forked child."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from sightline.retrieval.errors import StoreLockedError


class WriterLock:
    """A lock that is held from its making until `release`.

    Args:
        path: file of the lock, in the folder of the store.
        timeout: seconds to wait for whoever holds it.

    Raises:
        StoreLockedError: another store, here or in another process, held it all the while.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._process = os.getpid()
        self._lock = FileLock(path, thread_local=False)  # any thread may close the store
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout:
            waited = f", and was for {timeout:g} s" if timeout else "; give lock_timeout to wait for it"
            raise StoreLockedError(
                f"{path.parent} is open for writing elsewhere, in this process or another{waited}; close it there, or "
                "open it here with read_only=True"
            ) from None

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that took the lock, and so does not hold it."""
        return self._process != os.getpid()

    def release(self) -> None:
        """Let go of the lock; in a forked child nothing happens, for it is the parent's."""
        if not self.is_inherited:
            self._lock.release()
