"""Keeping a store equal to a folder of files: what is new, changed or gone is found by the content of the files.

The pieces of a file are replaced in one commit, so a kill leaves every file in its old form or in its new one, and the
next call goes on from there. This module does not know how documents are encoded or kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from sightline.retrieval.store.document import Document
from sightline.retrieval.store.filters import Where
from sightline.retrieval.text.chunking import chunk_text

FOLDER_KEY, PATH_KEY, DIGEST_KEY, PART_KEY = "folder", "path", "sha256", "part"
"""Metadata keys of a piece of a file."""

_FILES_AT_ONCE, _PIECES_AT_ONCE = 500, 1000


class Piece(Protocol):
    """A piece of a text, such as a `Chunk` or a `Passage`."""

    @property
    def text(self) -> str:
        """The piece itself."""
        ...


FileReader: TypeAlias = Callable[[Path, bytes], str | None]
"""From a file's path and bytes to its text; None for a file that is no text, and is passed over."""
Splitter: TypeAlias = Callable[[str], Iterable[Piece]]
"""From a text to its pieces."""
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many files of how many are done."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, in paths relative to the folder, sorted."""

    added: tuple[str, ...]
    """Files that were not in the store."""
    changed: tuple[str, ...]
    """Files whose content was another."""
    removed: tuple[str, ...]
    """Files that are no longer there, or no text any more."""
    unchanged: int
    """Number of files whose content the store has."""
    skipped: tuple[str, ...]
    """Files without text."""
    failed: Mapping[str, OSError]
    """Files that could not be read; the store has them as it had."""


class SyncTarget(Protocol):
    """What a store offers to be kept equal to a folder."""

    def values(self, keys: tuple[str, ...], where: Where) -> Iterator[tuple[object, ...]]:
        """Yield what the documents that pass a filter have under some keys."""
        ...

    def replace(self, where: Where, documents: Iterable[Document]) -> None:
        """Delete all documents that pass a filter and write others, in one commit."""
        ...


def read_text(path: Path, content: bytes) -> str | None:
    """Return the text of a file in UTF-8; None if it is something else."""
    del path
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def sync_folder_into(
    store: SyncTarget,
    folder: Path,
    pattern: str,
    *,
    name: str,
    read: FileReader = read_text,
    split: Splitter = chunk_text,
    version: str = "",
    exclude: Path | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Make the documents that a store has of a folder those of the files that are there.

    Args:
        store: store to write to.
        folder: folder of the files.
        pattern: glob of the files, relative to the folder.
        name: name of the folder in the metadata of the documents.
        read: function that makes the text of a file.
        split: function that cuts a text.
        version: text that stands for `read` and `split`; with another one all files are read anew.
        exclude: folder whose files are left out, such as the store's own.
        progress: function that is told how far it is.

    Raises:
        NotADirectoryError: the folder is not there; nothing was changed.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder, so the store was not made equal to it")
    known: dict[str, object] = {}
    for path, digest in store.values((PATH_KEY, DIGEST_KEY), {FOLDER_KEY: name}):
        known[str(path)] = digest
    files = dict(_files(folder, pattern, exclude))
    added, changed, removed, skipped = [], [], [path for path in known if path not in files], []
    failed: dict[str, OSError] = {}
    unchanged = 0
    batch = _Batch(store, name)
    for path in removed:
        batch.add(path, [])
    for done, (relative, file) in enumerate(files.items(), start=1):
        try:
            content = file.read_bytes()
        except OSError as error:
            failed[relative] = error
            continue
        digest = hashlib.sha256(version.encode() + b"\x00" + content).hexdigest()
        if known.get(relative) == digest:
            unchanged += 1
        else:
            text = read(file, content)
            pieces = [] if text is None else [piece.text for piece in split(text)]
            if pieces:
                (changed if relative in known else added).append(relative)
            else:
                (removed if relative in known else skipped).append(relative)
            if pieces or relative in known:
                batch.add(relative, list(_documents(name, relative, digest, pieces)))
        if progress is not None:
            progress(done, len(files))
    batch.write()
    return SyncReport(tuple(added), tuple(changed), tuple(sorted(removed)), unchanged, tuple(skipped), failed)


class _Batch:
    """Files that are written in one commit."""

    def __init__(self, store: SyncTarget, name: str) -> None:
        self._store, self._name = store, name
        self._paths: list[str] = []
        self._documents: list[Document] = []

    def add(self, path: str, documents: list[Document]) -> None:
        self._paths.append(path)
        self._documents += documents
        if len(self._paths) >= _FILES_AT_ONCE or len(self._documents) >= _PIECES_AT_ONCE:
            self.write()

    def write(self) -> None:
        if self._paths:
            self._store.replace({FOLDER_KEY: self._name, PATH_KEY: {"in": self._paths}}, self._documents)
        self._paths, self._documents = [], []


def _files(folder: Path, pattern: str, exclude: Path | None) -> Iterator[tuple[str, Path]]:
    left_out = None if exclude is None else exclude.resolve()
    inside = left_out is not None and left_out.is_relative_to(folder.resolve())
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and not (inside and left_out is not None and path.resolve().is_relative_to(left_out)):
            yield path.relative_to(folder).as_posix(), path


def _documents(name: str, path: str, digest: str, pieces: Iterable[str]) -> Iterator[Document]:
    for part, text in enumerate(pieces):
        metadata = {FOLDER_KEY: name, PATH_KEY: path, DIGEST_KEY: digest, PART_KEY: part}
        yield Document(id=f"{name}/{path}#{part}", content=text, metadata=metadata)
