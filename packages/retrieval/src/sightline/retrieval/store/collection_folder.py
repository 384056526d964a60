"""Several stores in one folder, each under a name of its own.

This module knows names and folders, not what a store holds.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

from sightline.retrieval.files import sync_folder
from sightline.retrieval.store.disk.folder import StoreFolder
from sightline.retrieval.store.disk.lock import WriterLock
from sightline.retrieval.store.store import LocalEmbeddingStore
from sightline.retrieval.text.protocol import TextEncoder

MAX_NAME_CHARACTERS = 64
_PREFIX, _DELETED = "collection-", ".deleted-"


class StoreCollections:
    """Named stores side by side; each has its own encoder, lock and files, so that different processes write them.

    Args:
        path: folder of the collections, made when the first one is.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def names(self) -> list[str]:
        """Return the names of the collections that there are, sorted."""
        if not self._path.is_dir():
            return []
        folders = [path for path in self._path.iterdir() if path.name.startswith(_PREFIX)]
        return sorted(unquote(path.name.removeprefix(_PREFIX)) for path in folders if _holds_store(path))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a collection of this name."""
        return isinstance(name, str) and name in self.names()

    def open(self, name: str, encoder: TextEncoder | None = None, **options: Any) -> LocalEmbeddingStore:
        """Open a collection, made if need be.

        Args:
            name: name of 1 to 64 characters.
            encoder: encoder of it; None as for `LocalEmbeddingStore`.
            **options: other arguments of `LocalEmbeddingStore`.

        Raises:
            StoreError: as `LocalEmbeddingStore` raises it.
            ValueError: the name is empty or too long.
        """
        return LocalEmbeddingStore(encoder, self._folder(name), **options)

    def delete(self, name: str, *, lock_timeout: float = 0.0) -> None:
        """Delete a collection with all that is in its folder; after a crash it is there whole, or gone.

        Args:
            name: name of the collection.
            lock_timeout: seconds to wait for a writer to close it.

        Raises:
            FileNotFoundError: there is none of this name.
            StoreLockedError: it is open for writing.
            ValueError: the name is empty or too long.
        """
        folder = self._folder(name)
        if not _holds_store(folder):
            raise FileNotFoundError(
                f"{self._path} has no collection {name!r}; it has {', '.join(self.names()) or 'none'}"
            )
        lock = WriterLock(StoreFolder(folder).lock, lock_timeout)
        try:
            folder.rename(self._path / f"{_DELETED}{uuid4().hex}")
            sync_folder(self._path)
        finally:
            lock.release()
        for remains in self._path.glob(f"{_DELETED}*"):  # also those that a crash left
            shutil.rmtree(remains)

    def _folder(self, name: str) -> Path:
        if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
            raise ValueError(f"a collection's name has 1 to {MAX_NAME_CHARACTERS} characters, not {len(name)}")
        # Letters of both cases must not meet where the file system takes them for one.
        escaped = "".join(
            f"%{ord(letter):02X}" if letter in ".~" or letter.isupper() else quote(letter, safe="") for letter in name
        )
        return self._path / f"{_PREFIX}{escaped}"


def _holds_store(folder: Path) -> bool:
    return folder.is_dir() and StoreFolder(folder).database.is_file()
