"""The files of a store in its folder: how they are named, which are missing or damaged, and which may be deleted.

A store never touches a file that it did not write: names are compared whole, and what a look at the folder cannot
explain is refused before anything is changed. This module does not read documents or vectors.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.retrieval.errors import ForeignFolderError, StoreDamagedError
from sightline.retrieval.files import sync_folder
from sightline.retrieval.store.database.schema import StoreState

_DATABASE_FILE, _LOCK_FILE = "documents.sqlite", "writer.lock"
_DATABASE_LOG, _DATABASE_JOURNAL = f"{_DATABASE_FILE}-wal", f"{_DATABASE_FILE}-journal"
_REPAIRED_FILE = f"{_DATABASE_FILE}.repaired"
_SQLITE_FILES = frozenset({_DATABASE_FILE, _DATABASE_LOG, _DATABASE_JOURNAL, f"{_DATABASE_FILE}-shm"})
_SQLITE_MAGIC = b"SQLite format 3\x00"
_VECTORS_NAME = re.compile(r"vectors-([0-9]{6,})\.f32")
_INDEX_NAME = re.compile(r"index-([0-9]{6,})-([0-9]+)\.usearch(?:\.tmp)?")
_ASIDE_NAME = re.compile(r"damaged-[0-9]{3,}")
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class StorePart:
    """A file of vectors, or of an approximate index, that a store wrote."""

    path: Path
    size: int
    """Bytes."""
    generation: int
    """The compactions before it was written."""
    indexed_rows: int | None
    """Rows that an index covers; None for vectors."""


class StoreFolder:
    """Names of the files of a store.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / _DATABASE_FILE
        self.repaired = path / _REPAIRED_FILE
        self.lock = path / _LOCK_FILE

    def vectors(self, generation: int) -> Path:
        """Return the file of the vectors of a generation."""
        return self.path / f"vectors-{generation:06d}.f32"

    def index_of(self, generation: int, size: int) -> Path:
        """Return the file of the approximate index that was built of so many rows in a generation."""
        return self.path / _index_name(generation, size)

    def index(self, state: StoreState) -> Path | None:
        """Return the file of the approximate index; None where there is no index."""
        return self.index_of(state.index_generation, state.index_size) if state.indexed_rows else None

    def parts(self) -> list[StorePart]:
        """Return the vectors and indexes that lie in the folder, of whatever generation, in the order of names."""
        found = (_part(path) for path in self._entries())
        return [part for part in found if part is not None]

    def require_store(self, parts: Sequence[StorePart]) -> None:
        """Make sure, by a look at the files, that a store can be read here.

        Args:
            parts: parts that `parts` found.

        Raises:
            FileNotFoundError: the folder holds no store.
            StoreDamagedError: the database is missing, empty or no database.
        """
        if not self._has_database(parts):
            raise FileNotFoundError(f"{self.path} holds no store to read; open it for writing to make one")

    def require_room(self, parts: Sequence[StorePart], *, allow_other_files: bool) -> None:
        """Make sure, by a look at the files, that a store can be opened or made here without harm to anything.

        Args:
            parts: parts that `parts` found.
            allow_other_files: True where a store may be made beside files that are not its own.

        Raises:
            ForeignFolderError: the folder holds other things and no store.
            StoreDamagedError: the database is missing, empty or no database.
        """
        if self._has_database(parts):
            return
        if self.lock.is_file() and self.lock.stat().st_size:  # locking would empty it
            raise ForeignFolderError(
                f"{self.lock} holds something, so no store wrote it; keep the store in a folder of its own"
            )
        own = {part.path for part in parts} | {self.path / name for name in (*_SQLITE_FILES, _LOCK_FILE)}
        others = [path.name for path in self._entries() if path not in own or not path.is_file()]
        if others and not allow_other_files:
            raise ForeignFolderError(
                f"{self.path} holds {_listed(others)} and no store; give a folder of its own, or "
                "allow_other_files=True to make a store beside them"
            )

    def refuse_remains(self, parts: Sequence[StorePart]) -> None:
        """Refuse what only a store that was whole once leaves behind, for a database that holds no store.

        Args:
            parts: parts that `parts` found before the database was asked.

        Raises:
            StoreDamagedError: there are such files; the message names them.
        """
        self._refuse(_remains(parts), "holds no store")

    def refuse_newer(self, parts: Sequence[StorePart], state: StoreState) -> None:
        """Refuse files that were written after the last commit which the database knows.

        An unfinished compaction leaves vectors of the next generation, and an unfinished build an index of rows that
        count; whatever goes beyond was committed, so the database is older than the files beside it.

        Args:
            parts: parts that `parts` found before the database was asked.
            state: state that the database tells.

        Raises:
            StoreDamagedError: there are such files; the message names them.
        """
        newer = [part.path.name for part in parts if not _may_precede_commit(part, state)]
        if newer:
            raise StoreDamagedError(
                f"{self.database} is older than {_listed(newer)} beside it; restore all files of the store from one "
                "backup"
            )

    def remove_strays(self, state: StoreState) -> None:
        """Delete what this store wrote and does not count: earlier generations, unfinished compactions and indexes."""
        current = {self.vectors(state.generation), self.index(state)}
        for part in self.parts():
            if part.path not in current and _may_precede_commit(part, state):
                with suppress(PermissionError):  # Windows keeps a mapped file; the next opening deletes it
                    part.path.unlink()

    def copy_database(self, target: Path) -> Path:
        """Copy the database, with its log and journal, to another folder; return the copy.

        Args:
            target: folder that holds none.

        Raises:
            OSError: it cannot be read, or not be written there.
        """
        for name in (_DATABASE_FILE, _DATABASE_LOG, _DATABASE_JOURNAL):
            if (self.path / name).is_file():
                shutil.copy2(self.path / name, target / name)
        return target / _DATABASE_FILE

    def copy_aside(self) -> None:
        """Copy the database, with its log and journal, to a new folder in this one, durably."""
        aside = self.path / f"damaged-{len(self._asides()):03d}"
        aside.mkdir()
        self.copy_database(aside)
        for path in aside.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(aside)
        sync_folder(self.path)

    def take_repaired(self, source: Path, generation: int) -> None:
        """Move the files of a repaired store here, the database last and under a name that says what it is.

        Args:
            source: folder of the repaired store, which is closed.
            generation: number of its generation, which no part here has.
        """
        repaired = StoreFolder(source)
        repaired.vectors(generation).replace(self.vectors(generation))
        sync_folder(self.path)
        repaired.database.replace(self.repaired)
        sync_folder(self.path)

    def put_repaired_in_place(self) -> Path:
        """Let the repaired database be the one that counts, and put the parts of the damaged store aside.

        Returns:
            The folder with the damaged files.
        """
        aside = self._asides()[-1]
        for name in (_DATABASE_LOG, f"{_DATABASE_FILE}-shm", _DATABASE_JOURNAL):  # they belong to the damaged one
            (self.path / name).unlink(missing_ok=True)
        newest = max(part.generation for part in self.parts() if part.indexed_rows is None)
        self.repaired.replace(self.database)
        sync_folder(self.path)
        for part in self.parts():
            if part.generation < newest or part.indexed_rows is not None:
                part.path.replace(aside / part.path.name)
        sync_folder(aside)
        sync_folder(self.path)
        return aside

    def _asides(self) -> list[Path]:
        return [path for path in self._entries() if _ASIDE_NAME.fullmatch(path.name) and path.is_dir()]

    def _has_database(self, parts: Sequence[StorePart]) -> bool:
        """Return whether there is a database that may hold a store; False where a store has yet to be made."""
        if self.repaired.is_file():
            raise StoreDamagedError(
                f"{self.path} is in the middle of a repair; call LocalEmbeddingStore.repair again, which ends it"
            )
        if self.database.is_file() and self.database.stat().st_size:
            with self.database.open("rb") as file:
                is_database = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
                # With a journal, left by a power cut while the store was first made, SQLite will undo what is torn.
                if not is_database and not (self.path / _DATABASE_JOURNAL).is_file():
                    raise StoreDamagedError(f"{self.database} is damaged: it is no database; restore it from a backup")
            return True
        state = "is empty" if self.database.is_file() else "is missing"
        log = self.path / _DATABASE_LOG
        self._refuse([log.name] if log.is_file() and log.stat().st_size else [], state)
        self._refuse(_remains(parts), state)
        return False

    def _refuse(self, remains: Sequence[str], state: str) -> None:
        if remains:
            raise StoreDamagedError(
                f"{self.database} {state}, but {_listed(remains)} of a store lie beside it; restore it from a backup, "
                "or move them away to begin anew"
            )

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.exists() else []


def _part(path: Path) -> StorePart | None:
    """Describe a file that has, to the letter, a name that a store gives; None for any other."""
    if not path.is_file() or path.is_symlink():
        return None
    if match := _VECTORS_NAME.fullmatch(path.name):
        generation, rows = int(match[1]), None
        exact = path.name == f"vectors-{generation:06d}.f32"
    elif match := _INDEX_NAME.fullmatch(path.name):
        generation, rows = int(match[1]), int(match[2])
        exact = path.name.removesuffix(".tmp") == _index_name(generation, rows)
    else:
        return None
    return StorePart(path, path.stat().st_size, generation, rows) if exact else None


def _remains(parts: Sequence[StorePart]) -> list[str]:
    """Name the parts that a store which was never committed cannot have: all but the empty vectors it begins with."""
    return [part.path.name for part in parts if part.size or part.generation or part.indexed_rows is not None]


def _index_name(generation: int, indexed_rows: int) -> str:
    return f"index-{generation:06d}-{indexed_rows}.usearch"


def _may_precede_commit(part: StorePart, state: StoreState) -> bool:
    """Return whether a part may be as old as a state, or the trace of a write that was not committed after it."""
    if part.indexed_rows is None:
        return part.generation <= state.generation + 1
    return part.generation < state.generation or (
        part.generation == state.generation and part.indexed_rows <= state.row_count
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
