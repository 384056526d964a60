from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreError, StoreLockedError, StoreNotClosedError
from sightline.retrieval.store.database import connections
from sightline.retrieval.store.database.transaction import Transaction

ENCODER = HashingEncoder(8)
NOBODY = 65534


def documents(*names: str) -> list[Document]:
    return [Document(id=name, content=f"text of {name}", metadata={"name": name}) for name in names]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"writer.lock"}


@contextmanager
def read_only_folder(folder: Path) -> Generator[None]:
    """Take away the right to write to a folder and all in it, also from root, who is somebody else meanwhile."""
    was_root = os.getuid() == 0
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    parents = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents if path.stat().st_uid == os.getuid()}
    for path, mode in modes.items():
        path.chmod(mode & 0o555 | 0o444)
    folder.chmod(0o555)
    if was_root:
        for path, mode in parents.items():
            path.chmod(mode | 0o011)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
            for path, mode in parents.items():
                path.chmod(mode)
        for path, mode in modes.items():
            path.chmod(mode)


posix = pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")


def test_a_closed_store_is_its_database_and_its_vectors(tmp_path: Path):
    for _ in range(2):
        with LocalEmbeddingStore(ENCODER, tmp_path) as store:
            store.upsert(documents("a", "b"))
            assert "documents.sqlite-wal" in names(tmp_path)
        assert names(tmp_path) == {"documents.sqlite", "vectors-000000.f32"}


@posix
def test_a_closed_store_is_read_where_nothing_may_be_written_and_nothing_is_left_behind(tmp_path: Path):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents("a", "b"))
        expected = store.search("text of b", where={"name": {"in": ["a", "b"]}})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with read_only_folder(folder):
        with pytest.raises(OSError, match="denied"):
            (folder / "new").touch()
        with LocalEmbeddingStore(ENCODER, folder, read_only=True) as reader:
            assert reader.search("text of b", where={"name": {"in": ["a", "b"]}}) == expected
            assert not reader.refresh()
            assert reader.verify() == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@posix
def test_writing_where_nothing_may_be_written_is_an_os_error(tmp_path: Path):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents("a"))
    (folder / "writer.lock").unlink(missing_ok=True)
    with read_only_folder(folder), pytest.raises((OSError, StoreError)) as caught:
        LocalEmbeddingStore(ENCODER, folder)
    assert isinstance(caught.value, OSError)


def killed(folder: Path) -> None:
    """Leave the folder as a writer does that is killed after its last write was acknowledged."""
    code = (
        "import os, sys; from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore;"
        "store = LocalEmbeddingStore(HashingEncoder(8), sys.argv[1]);"
        "store.add([Document(id='a', content='text of a')]); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == -9


@posix
def test_a_store_whose_writer_was_killed_says_so_where_its_log_cannot_be_read(tmp_path: Path):
    folder = tmp_path / "store"
    killed(folder)
    (folder / "documents.sqlite-shm").unlink()
    with read_only_folder(folder), pytest.raises(StoreNotClosedError, match="open it once for writing, or copy it"):
        LocalEmbeddingStore(ENCODER, folder, read_only=True)
    shutil.copytree(folder, tmp_path / "copy")
    with LocalEmbeddingStore(ENCODER, tmp_path / "copy", read_only=True) as reader:
        assert "a" in reader
    with LocalEmbeddingStore(ENCODER, folder):
        pass
    assert names(folder) == {"documents.sqlite", "vectors-000000.f32"}
    with read_only_folder(folder), LocalEmbeddingStore(ENCODER, folder, read_only=True) as reader:
        assert "a" in reader


@posix
def test_a_log_without_anything_in_it_is_in_nobodys_way(tmp_path: Path):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents("a"))
    with closing(sqlite3.connect(folder / "documents.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # as it stays where a reader looks on while the writer closes
    assert names(folder) == {"documents.sqlite", "vectors-000000.f32"}
    with read_only_folder(folder), LocalEmbeddingStore(ENCODER, folder, read_only=True) as reader:
        assert reader.get("a").content == "text of a"
        assert not reader.refresh()


def test_a_writer_that_closes_under_a_readers_eyes_leaves_a_log_that_the_next_one_ends(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents("a"))
        reader = LocalEmbeddingStore(ENCODER, tmp_path, read_only=True)
    assert reader.get("a").content == "text of a"
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("*-wal", "*-shm", "copy"))
    with LocalEmbeddingStore(ENCODER, tmp_path / "copy", read_only=True) as copy:
        assert "a" in copy  # the log had been written into the database all the same
    reader.close()
    with LocalEmbeddingStore(ENCODER, tmp_path):
        pass
    assert names(tmp_path) == {"documents.sqlite", "vectors-000000.f32", "copy"}


def test_connections_in_use_while_the_store_is_closed_leave_plain_files_too(tmp_path: Path):
    store = LocalEmbeddingStore(ENCODER, tmp_path)
    store.add(documents("a"))
    with store._storage.reading(store._storage.view):
        store.close()
        assert "documents.sqlite-wal" in names(tmp_path)
    assert names(tmp_path) == {"documents.sqlite", "vectors-000000.f32"}


@pytest.mark.parametrize(
    ("code", "error", "number"),
    [
        ("SQLITE_FULL", OSError, errno.ENOSPC),
        ("SQLITE_IOERR_WRITE", OSError, errno.EIO),
        ("SQLITE_READONLY", OSError, errno.EACCES),
        ("SQLITE_BUSY", StoreLockedError, None),
    ],
)
@pytest.mark.parametrize("operation", ["add", "delete", "compact"])
def test_what_the_disk_refuses_is_an_os_error_and_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[Exception],
    number: int | None,
    operation: str,
):
    def refuse(*_: object) -> None:
        refusal = sqlite3.OperationalError("refused")
        refusal.sqlite_errorname = code
        raise refusal

    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents("a", "b", "c"))
        store.delete(["c"])
        act = {
            "add": lambda: store.add(documents("d")),
            "delete": lambda: store.delete(["a"]),
            "compact": store.compact,
        }[operation]
        with monkeypatch.context() as patched:
            patched.setattr(Transaction, "set_state", refuse)
            with pytest.raises(error, match="refused") as caught:
                act()
        if number is not None:
            assert isinstance(caught.value, OSError)
            assert (caught.value.errno, str(caught.value.filename)) == (number, str(tmp_path / "documents.sqlite"))
        assert sorted(document.id for document in store.documents()) == ["a", "b"]
        act()
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        expected = {"add": ["a", "b", "d"], "delete": ["b"], "compact": ["a", "b"]}[operation]
        assert sorted(document.id for document in store.documents()) == expected
        assert store.verify() == []


def test_a_database_that_stays_busy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "_BUSY_SECONDS", 0.0)
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents("a"))
        with closing(sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLockedError, match="busy"):
                store.add(documents("b"))
        store.add(documents("b"))
