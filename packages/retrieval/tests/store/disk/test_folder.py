from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import ForeignFolderError, StoreDamagedError
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.storage import Storage

ENCODER = HashingEncoder(8)
OTHER_NAMES = (
    "index-of-papers.txt",
    "index-2024.html",
    "vectors-notes.md",
    "vectors-000001.f32.bak",
    "my-vectors-000001.f32",
    "vectors-1.f32",
    "vectors-0000001.f32",
    "Vectors-000001.f32",
    "vectors-00000\u0661.f32",  # a digit, but not one of ours
    "index-000000-03.usearch",
    "index-000000-3.usearch.old",
    "readme.md",
)


def documents(first: int, end: int) -> list[Document]:
    return [Document(id=f"d{number}", content=f"text {number}", metadata={"n": number}) for number in range(first, end)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def restore(folder: Path, content: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)


def put_other_files(folder: Path) -> dict[str, bytes]:
    restore(folder, {name: f"written by someone else: {name}".encode() for name in OTHER_NAMES})
    (folder / "vectors-000007.f32").mkdir()
    (folder / "index-000000-1.usearch").symlink_to(folder / "readme.md")
    return files(folder)


def test_a_folder_that_holds_other_things_and_no_store_is_refused_and_left_as_it_was(tmp_path: Path):
    before = put_other_files(tmp_path / "papers")
    with pytest.raises(ForeignFolderError, match=r"index-2024\.html.* and 9 more and no store.*allow_other_files=True"):
        LocalEmbeddingStore(ENCODER, tmp_path / "papers")
    with pytest.raises(FileNotFoundError, match="holds no store"):
        LocalEmbeddingStore(ENCODER, tmp_path / "papers", read_only=True)
    assert files(tmp_path / "papers") == before


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_one_file_of_another_is_enough_to_refuse_a_folder(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ForeignFolderError, match="and no store"):
        LocalEmbeddingStore(ENCODER, tmp_path)
    assert files(tmp_path) == {name: b""}


def test_a_store_beside_other_files_never_touches_them(tmp_path: Path):
    before = put_other_files(tmp_path)
    with LocalEmbeddingStore(ENCODER, tmp_path, allow_other_files=True) as store:
        store.add(documents(0, 9))
        store.build_index()
        store.delete(["d0"])
        assert store.compact() == 1
        store.build_index()
    for read_only in (False, True):  # a store that is there needs no leave
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=read_only) as store:
            assert len(store) == 8
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert (tmp_path / "vectors-000007.f32").is_dir()
    assert (tmp_path / "index-000000-1.usearch").is_symlink()
    own = {"documents.sqlite", "writer.lock", "vectors-000001.f32", "index-000001-8.usearch"}
    assert own <= {*after} <= own | {*before} | {"documents.sqlite-wal", "documents.sqlite-shm"}


@pytest.mark.parametrize("allow_other_files", [False, True])
def test_a_lock_file_of_another_program_is_not_emptied(tmp_path: Path, allow_other_files: bool):
    (tmp_path / "writer.lock").write_bytes(b"process 17")
    with pytest.raises(ForeignFolderError, match=r"writer\.lock"):
        LocalEmbeddingStore(ENCODER, tmp_path, allow_other_files=allow_other_files)
    assert files(tmp_path) == {"writer.lock": b"process 17"}


@pytest.mark.parametrize("read_only", [False, True])
def test_the_database_of_another_program_is_refused_and_not_changed(tmp_path: Path, read_only: bool):
    with closing(sqlite3.connect(tmp_path / "documents.sqlite")) as connection:
        connection.execute("CREATE TABLE papers (title TEXT)")
    before = files(tmp_path)
    with pytest.raises(ForeignFolderError, match=r"documents\.sqlite is the database of another program"):
        LocalEmbeddingStore(ENCODER, tmp_path, read_only=read_only, allow_other_files=not read_only)
    after = files(tmp_path)
    assert after.pop("writer.lock", b"") == b""
    assert after == before


def change_database(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        connection.execute(statement)


def change_state(folder: Path, **changes: int) -> None:
    """As a fault of the store itself would: the checksum is that of the changed state."""
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        transaction = Transaction(connection, folder / "documents.sqlite")
        transaction.set_state(replace(transaction.state(), **changes))


def empty_database(folder: Path) -> None:
    """As a backup has it that was taken while the first commit was in the log only."""
    (folder / "documents.sqlite").unlink()
    change_database(folder, "PRAGMA journal_mode = WAL")


def log_without_database(folder: Path) -> None:
    (folder / "documents.sqlite").rename(folder / "documents.sqlite-wal")
    (folder / "vectors-000001.f32").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no database": (lambda folder: (folder / "documents.sqlite").unlink(), r"documents\.sqlite is missing.*vectors"),
    "a database of no bytes": (lambda folder: (folder / "documents.sqlite").write_bytes(b""), "is empty.*vectors"),
    "a database without tables": (empty_database, "holds no store.*vectors-000001"),
    "a log alone": (log_without_database, r"is missing.*sqlite-wal"),
    "another file for a database": (
        lambda folder: (folder / "documents.sqlite").write_bytes(b"notes" * 2000),
        r"documents\.sqlite",
    ),
    "half a database": (
        lambda folder: (folder / "documents.sqlite").write_bytes((folder / "documents.sqlite").read_bytes()[:8192]),
        r"documents\.sqlite",
    ),
    "a header for a database": (
        lambda folder: (folder / "documents.sqlite").write_bytes((folder / "documents.sqlite").read_bytes()[:100]),
        r"documents\.sqlite",
    ),
    "no state": (lambda folder: change_database(folder, "DELETE FROM state"), r"documents\.sqlite is damaged"),
    "a state of nonsense": (
        lambda folder: change_database(folder, "UPDATE state SET row_count = 'many'"),
        r"documents\.sqlite is damaged",
    ),
    "a table less": (lambda folder: change_database(folder, "DROP TABLE tombstones"), r"documents\.sqlite is damaged"),
    "a column less": (
        lambda folder: change_database(folder, "ALTER TABLE state RENAME COLUMN version TO v"),
        r"documents\.sqlite is damaged",
    ),
    "a state that was altered": (
        lambda folder: change_database(folder, "UPDATE state SET row_count = 7"),
        r"documents\.sqlite is damaged: its table of states",
    ),
    "another format": (lambda folder: change_database(folder, "PRAGMA user_version = 9"), "format 9"),
    "fewer rows counted": (
        lambda folder: change_state(folder, row_count=2),
        "counts 2 rows, but its documents end at 8",
    ),
    "documents lost": (
        lambda folder: change_database(folder, "DELETE FROM documents WHERE row > 3"),
        "counts 8 rows, but its documents end at 4",
    ),
    "a tombstone on no row": (
        lambda folder: change_database(folder, "INSERT INTO tombstones VALUES (8)"),
        "last tombstone is on 8",
    ),
    "no vectors": (lambda folder: (folder / "vectors-000001.f32").unlink(), r"vectors-000001\.f32 is missing"),
    "vectors without an end": (
        lambda folder: (folder / "vectors-000001.f32").write_bytes(bytes(8 * 8 * 4 - 1)),
        r"vectors-000001\.f32 holds 255 bytes",
    ),
    "vectors of no bytes": (lambda folder: (folder / "vectors-000001.f32").write_bytes(b""), "holds 0 bytes"),
    "vectors of a later compaction": (
        lambda folder: (folder / "vectors-000003.f32").write_bytes(bytes(32)),
        r"documents\.sqlite is older than vectors-000003\.f32",
    ),
    "an index of later rows": (
        lambda folder: (folder / "index-000001-9.usearch").write_bytes(b"index"),
        r"documents\.sqlite is older than index-000001-9\.usearch",
    ),
    "an index of a later compaction": (
        lambda folder: (folder / "index-000002-3.usearch").write_bytes(b"index"),
        r"documents\.sqlite is older than index-000002-3\.usearch",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a store of eight documents after one compaction, and of a compaction that was not finished."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents(0, 9))
        store.delete(["d8"])
        store.compact()
    return {**files(folder), "vectors-000002.f32": b"never committed"}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_before_anything_is_truncated_or_deleted(
    tmp_path: Path, whole: dict[str, bytes], damage: str, read_only: bool
):
    inflict, message = DAMAGES[damage]
    restore(tmp_path, whole)
    inflict(tmp_path)
    before = files(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match=message):
            LocalEmbeddingStore(ENCODER, tmp_path, read_only=read_only, allow_other_files=not read_only)
    after = files(tmp_path)
    assert {name: after[name] for name in before if not name.endswith("-shm")} == before
    assert {*after} <= {*before, "writer.lock", "documents.sqlite-wal", "documents.sqlite-shm"}


def test_a_store_that_was_restored_after_an_error_is_whole(tmp_path: Path, whole: dict[str, bytes]):
    restore(tmp_path, whole)
    (tmp_path / "documents.sqlite").unlink()
    with pytest.raises(StoreDamagedError):
        LocalEmbeddingStore(ENCODER, tmp_path)
    (tmp_path / "documents.sqlite").write_bytes(whole["documents.sqlite"])
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        assert [document.id for document in store.documents()] == [f"d{number}" for number in range(8)]
        assert [hit.document.id for hit in store.search("text 5", top_k=1)] == ["d5"]
    assert not (tmp_path / "vectors-000002.f32").exists()


@pytest.mark.parametrize("kept", ["documents.sqlite", "vectors-000000.f32", "vectors-000001.f32"])
def test_one_part_of_a_store_alone_is_never_taken_for_a_new_one(tmp_path: Path, whole: dict[str, bytes], kept: str):
    part = {kept: whole.get(kept, whole["vectors-000001.f32"])}
    restore(tmp_path, part)
    with pytest.raises(StoreDamagedError):
        LocalEmbeddingStore(ENCODER, tmp_path)
    assert files(tmp_path)[kept] == part[kept]


def test_a_database_that_goes_missing_under_an_open_store_does_not_begin_anew(tmp_path: Path):
    storage = Storage(tmp_path, "encoder", 8, read_only=False)
    with storage.reading(storage.view):  # holds the connection there is, so the next one is made anew
        (tmp_path / "documents.sqlite").unlink()
        with pytest.raises(StoreDamagedError, match=r"documents\.sqlite is missing"):
            storage.refresh()
    storage.close()
    assert not (tmp_path / "documents.sqlite").exists()


def states_of_creation(folder: Path) -> list[dict[str, bytes]]:
    """What a crash would leave, between any two calls of the first opening of a store."""
    states: list[dict[str, bytes]] = []

    def look(*_: object) -> None:
        found = files(folder) if folder.exists() else {}
        if not states or found != states[-1]:
            states.append(found)

    sys.setprofile(look)
    try:
        store = LocalEmbeddingStore(ENCODER, folder)
    finally:
        sys.setprofile(None)
    store.close()
    return states


def test_a_crash_while_a_store_is_first_made_leaves_a_folder_that_opens(tmp_path: Path):
    states = states_of_creation(tmp_path / "source")
    assert len(states) > 4
    assert {"documents.sqlite", "vectors-000000.f32", "documents.sqlite-wal", "writer.lock"} <= {*states[-1]}
    for state in states:
        # The folder is synced before the log is written; until then a power cut may lose any name.
        for left_out in ["", *([] if state.get("documents.sqlite-wal") else state)]:
            target = tmp_path / "target"
            restore(target, {name: data for name, data in state.items() if name != left_out})
            with LocalEmbeddingStore(ENCODER, target) as store:
                store.add(documents(0, 2))
                assert len(store.search("text", top_k=9)) == 2
            with LocalEmbeddingStore(ENCODER, target, read_only=True) as store:
                assert len(store) == 2


@pytest.mark.parametrize("written", [0, 512, 4096])
@pytest.mark.parametrize("size", [0, 512, 4096])
def test_a_power_cut_while_the_database_is_first_written_leaves_a_folder_that_opens(
    tmp_path: Path, written: int, size: int
):
    with closing(sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE state (encoder TEXT)")
        begun = files(tmp_path)["documents.sqlite-journal"]
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA journal_mode = WAL")
        page = files(tmp_path)["documents.sqlite"]
    # https://www.sqlite.org/fileformat.html#the_rollback_journal: made durable before the first page is written.
    journal = bytes.fromhex("d9d505f920a163d7") + bytes(4) + begun[12:]
    database = page[:written].ljust(size, b"\0")
    restore(tmp_path, {"writer.lock": b"", "documents.sqlite": database, "documents.sqlite-journal": journal})
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(0, 2))
        assert len(store.search("text", top_k=9)) == 2
