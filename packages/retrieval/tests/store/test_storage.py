from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StaleGenerationError, StoreDamagedError
from sightline.retrieval.store import reading as reading_module
from sightline.retrieval.store import storage as storage_module
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.disk.folder import StoreFolder
from sightline.retrieval.store.disk.rows import VectorFile
from sightline.retrieval.store.storage import Storage

ENCODER = HashingEncoder(4)


def documents(numbers: Iterable[int]) -> list[Document]:
    return [Document(id=f"d{number}", content=f"text {number}", metadata={"n": number}) for number in numbers]


def vectors(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vector_of_each(store: LocalEmbeddingStore) -> dict[str, np.ndarray]:
    """Every document's vector as searches see it: its cosines with the axes."""
    found: dict[str, np.ndarray] = {}
    for axis, hits in enumerate(store.search_batch(np.eye(4, dtype=np.float32), top_k=10_000)):
        for hit in hits:
            found.setdefault(hit.document.id, np.full(4, np.nan))[axis] = hit.score
    return found


@pytest.mark.parametrize("on_disk", [False, True])
@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    dead=st.sets(st.integers(0, 39)),
    rows_at_once=st.integers(1, 7),
)
def test_after_a_compaction_in_blocks_every_document_has_its_own_vector(
    tmp_path_factory: pytest.TempPathFactory, on_disk: bool, count: int, dead: set[int], rows_at_once: int
):
    folder = tmp_path_factory.mktemp("store") if on_disk else None
    rows, dead = vectors(count), {number for number in dead if number < count}
    with pytest.MonkeyPatch.context() as patch, LocalEmbeddingStore(ENCODER, folder) as store:
        patch.setattr(storage_module, "_COPY_ROWS", rows_at_once)
        store.add(documents(range(count)), rows)
        store.delete([f"d{number}" for number in dead])
        assert store.compact() == len(dead)
        expected = {f"d{number}": rows[number] for number in range(count) if number not in dead}
        found = vector_of_each(store)
        assert found.keys() == expected.keys()
        for name, row in expected.items():
            np.testing.assert_allclose(found[name], row, atol=1e-6)
    if folder is not None:
        with LocalEmbeddingStore(ENCODER, folder, read_only=True) as reader:
            assert {name: row.tolist() for name, row in vector_of_each(reader).items()} == {
                name: row.tolist() for name, row in found.items()
            }


class Disk:
    """Remembers what a power cut would leave: names of synced folders, and content of synced files.

    SQLite syncs its own files by itself, so these are left as they are.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not Path("/proc/self/fd").is_dir():
            pytest.skip("files cannot be told by their descriptors on this system")
        self.content: dict[int, bytes] = {}  # by inode, which a file keeps when it is renamed
        self.names: dict[Path, set[str]] = {}
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_dir():
                self.names[path] = {entry.name for entry in path.iterdir()}
            else:
                self.content[os.fstat(descriptor).st_ino] = path.read_bytes()

        monkeypatch.setattr(os, "fsync", fsync)

    def after_a_power_cut(self, folder: Path, target: Path) -> Path:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        if folder.name not in self.names.get(folder.parent, ()):
            return target
        for path in folder.iterdir():
            if path.name.startswith("documents.sqlite-"):
                shutil.copy(path, target)
            elif path.name in self.names.get(folder, ()):
                own = path.name == "documents.sqlite"
                (target / path.name).write_bytes(
                    path.read_bytes() if own else self.content.get(path.stat().st_ino, b"")
                )
        return target


STEPS: dict[str, tuple[Callable[[LocalEmbeddingStore], object], set[str]]] = {
    "made": (lambda store: None, set()),
    "added": (lambda store: store.add(documents(range(6)), vectors(6)), {"d0", "d1", "d2", "d3", "d4", "d5"}),
    "deleted": (lambda store: store.delete(["d1", "d4"]), {"d0", "d2", "d3", "d5"}),
    "compacted": (lambda store: store.compact(), {"d0", "d2", "d3", "d5"}),
    "replaced": (lambda store: store.upsert(documents([3]), vectors(1, seed=1)), {"d0", "d2", "d3", "d5"}),
}


def test_a_power_cut_right_after_any_operation_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    disk, folder = Disk(monkeypatch), tmp_path / "new" / "store"
    folder.parent.mkdir()
    with LocalEmbeddingStore(ENCODER, folder) as store:
        for name, (act, expected) in STEPS.items():
            act(store)
            left = disk.after_a_power_cut(folder, tmp_path / "left")
            with LocalEmbeddingStore(ENCODER, left, read_only=True) as reader:
                assert {document.id for document in reader.documents()} == expected, name
                found, truth = vector_of_each(reader), vector_of_each(store)
                assert all((found[key] == truth[key]).all() for key in expected), name


def test_the_index_that_was_built_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("usearch", reason="needs the extra 'approximate'")
    disk, folder = Disk(monkeypatch), tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents(range(9)), vectors(9))
        store.build_index()
        left = disk.after_a_power_cut(folder, tmp_path / "left")
        assert (left / "index-000000-9.usearch").read_bytes() == (folder / "index-000000-9.usearch").read_bytes()
        with LocalEmbeddingStore(ENCODER, left, read_only=True, approximate_from=0) as reader:
            assert reader._storage.view.index is not None


class Interrupted(VectorFile):
    """Lets something happen between the moment a state was read and the moment its vectors are opened."""

    before_opening: Callable[[], None] | None = None

    def __init__(self, path: Path, dimension: int, *, writable: bool) -> None:
        act, Interrupted.before_opening = Interrupted.before_opening, None
        if act is not None:
            act()
        super().__init__(path, dimension, writable=writable)


@pytest.mark.parametrize("times", [1, 3, 9])
def test_a_reader_that_opens_while_compactions_replace_the_vectors_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
):
    left = times
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents(range(40)), vectors(40))

        def compact() -> None:
            nonlocal left
            left -= 1
            writer.delete([f"d{left}"])
            writer.compact()
            Interrupted.before_opening = compact if left else None

        monkeypatch.setattr(storage_module, "VectorFile", Interrupted)
        Interrupted.before_opening = compact
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as reader:
            assert left == 0
            assert len(reader) == 40 - times
            assert reader.get("d39").metadata == {"n": 39}


def test_a_reader_gives_up_on_vectors_that_stay_away_and_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents(range(3)))
        looked: list[int] = []
        monkeypatch.setattr(StoreFolder, "vectors", lambda folder, n: (looked.append(n), tmp_path / "gone.f32")[1])
        with pytest.raises(StoreDamagedError, match=r"gone\.f32 is missing; restore it from a backup"):
            LocalEmbeddingStore(ENCODER, tmp_path, read_only=True)
        assert len(looked) == 10


@pytest.mark.parametrize("times", [1, 9])
def test_a_search_is_answered_again_when_compactions_renumber_the_rows_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        rows = vectors(40)
        writer.add(documents(range(40)), rows)
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as reader:
            left = times
            exact_rows = reading_module.exact_rows

            def interrupted(*arguments: Any, **options: Any) -> object:
                nonlocal left
                ranked = exact_rows(*arguments, **options)
                if left:
                    left -= 1
                    writer.delete([f"d{left}"])
                    writer.compact()
                return ranked

            monkeypatch.setattr(reading_module, "exact_rows", interrupted)
            hits = reader.search(rows[20], top_k=40)
            assert hits[0].document.id == "d20"
            assert {hit.document.id for hit in hits} == {f"d{number}" for number in range(times, 40)}


def test_a_search_that_never_comes_to_rest_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(3)))
        asked: list[int] = []

        def renumbered(transaction: Transaction, generation: int) -> None:
            asked.append(generation)
            raise StaleGenerationError("renumbered")

        monkeypatch.setattr(Transaction, "require_generation", renumbered)
        with pytest.raises(StaleGenerationError):
            store.search("text")
        assert len(asked) == 10


def left_over(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(("vectors-", "index-"))}


OLD_PARTS = ("vectors-000000.f32", "vectors-000003.f32", "index-000001-3.usearch", "index-000000-3.usearch.tmp")
PARTS = {"vectors-000002.f32"}


def test_what_earlier_generations_left_is_deleted_when_the_writer_opens_compacts_or_publishes(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(9)), vectors(9))
        for name in ("d0", "d1"):
            store.delete([name])
            store.compact()
        assert left_over(tmp_path) == PARTS
    for name in (*OLD_PARTS, "index-000002-3.usearch"):
        (tmp_path / name).write_bytes(b"left over")
    with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True):
        assert left_over(tmp_path) == {*PARTS, *OLD_PARTS, "index-000002-3.usearch"}
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        assert left_over(tmp_path) == PARTS
        for name in OLD_PARTS[:1]:
            (tmp_path / name).write_bytes(b"left over")
        store.delete(["d2"])
        store.compact()
        assert left_over(tmp_path) == {"vectors-000003.f32"}


def test_an_index_takes_the_place_of_the_one_before_and_outlives_compactions(tmp_path: Path):
    pytest.importorskip("usearch", reason="needs the extra 'approximate'")
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(9)), vectors(9))
        store.build_index()
        store.add(documents([9]), vectors(1, seed=1))
        store.build_index()
        assert left_over(tmp_path) == {"vectors-000000.f32", "index-000000-10.usearch"}
        store.delete(["d0"])
        store.compact()
        assert left_over(tmp_path) == {"vectors-000001.f32", "index-000000-10.usearch"}
        store.build_index()
        assert left_over(tmp_path) == {"vectors-000001.f32", "index-000001-9.usearch"}
        store.delete([f"d{number}" for number in range(1, 10)])
        store.compact()
        assert left_over(tmp_path) == {"vectors-000002.f32"}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_database(*_: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    raise error


REFUSALS: list[tuple[object, str, Callable[..., None]]] = [
    (VectorFile, "create", full_disk),
    (VectorFile, "write", full_disk),
    (VectorFile, "sync", full_disk),
    (Transaction, "renumber", full_database),
]


@pytest.mark.parametrize(("owner", "name", "refuse"), REFUSALS)
@pytest.mark.parametrize("change", ["delete", "upsert"])
def test_a_write_is_acknowledged_though_the_compaction_after_it_meets_a_full_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: object,
    name: str,
    refuse: Callable[..., None],
    change: str,
):
    monkeypatch.setattr(storage_module, "COMPACTION_MIN_ROWS", 10)
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        rows = vectors(20)
        store.add(documents(range(20)), rows)
        compact = Storage._compact

        def compact_on_a_full_disk(storage: Storage) -> int:
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, refuse)
                return compact(storage)

        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
            patched.setattr(Storage, "_compact", compact_on_a_full_disk)
            names = [f"d{number}" for number in range(8)]
            if change == "delete":
                store.delete(names)
            else:
                store.upsert(documents(range(9)), -rows[:9])
        assert "compaction failed, the store goes on without" in caplog.text
        assert left_over(tmp_path) <= {"vectors-000000.f32", "vectors-000001.f32"}
        kept = 12 if change == "delete" else 20
        assert len(store) == kept
        before = vector_of_each(store)
        assert len(before) == kept
        store.delete(["d19"])  # tries again, and succeeds
        assert left_over(tmp_path) == {"vectors-000001.f32"}
        del before["d19"]
        after = vector_of_each(store)
        assert all((after[key] == before[key]).all() for key in before.keys() | after.keys())
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        assert len(store) == kept - 1


@pytest.mark.parametrize(("dead", "compacts"), [(2, False), (3, True)])
def test_three_dead_rows_of_ten_start_a_compaction_and_fewer_do_not(
    monkeypatch: pytest.MonkeyPatch, dead: int, compacts: bool
):
    monkeypatch.setattr(storage_module, "COMPACTION_MIN_ROWS", 10)
    with LocalEmbeddingStore(ENCODER) as store:
        store.add(documents(range(10)))
        store.delete([f"d{number}" for number in range(dead)])
        assert store.compact() == (0 if compacts else dead)


@pytest.mark.parametrize(("rows", "compacts"), [(9, False), (10, True)])
def test_a_small_store_is_not_worth_a_compaction(monkeypatch: pytest.MonkeyPatch, rows: int, compacts: bool):
    monkeypatch.setattr(storage_module, "COMPACTION_MIN_ROWS", 10)
    with LocalEmbeddingStore(ENCODER) as store:
        store.add(documents(range(rows)))
        store.delete([f"d{number}" for number in range(6)])
        assert store.compact() == (0 if compacts else 6)


def test_the_share_and_the_least_size_that_start_a_compaction_are_those_of_the_documentation():
    assert (storage_module.COMPACTION_SHARE, storage_module.COMPACTION_MIN_ROWS) == (0.3, 1000)


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def replace_database(folder: Path) -> None:
    content = (folder / "documents.sqlite").read_bytes()
    (folder / "documents.sqlite").unlink()
    (folder / "documents.sqlite").write_bytes(content)


def replace_vectors(folder: Path) -> None:
    content = (folder / "vectors-000000.f32").read_bytes()
    (folder / "vectors-000000.f32").unlink()
    (folder / "vectors-000000.f32").write_bytes(content)


@pytest.mark.parametrize("vanish", [shutil.rmtree, move_away, replace_database, replace_vectors])
@pytest.mark.parametrize("operation", ["add", "upsert", "delete", "compact", "build_index"])
def test_what_is_written_after_the_folder_vanished_is_not_acknowledged(
    tmp_path: Path, vanish: Callable[[Path], None], operation: str
):
    if operation == "build_index":
        pytest.importorskip("usearch", reason="needs the extra 'approximate'")
    folder = tmp_path / "store"
    store = LocalEmbeddingStore(ENCODER, folder)
    store.add(documents(range(9)))
    store.delete(["d8"])
    vanish(folder)
    act = {
        "add": lambda: store.add(documents([20])),
        "upsert": lambda: store.upsert(documents([1])),
        "delete": lambda: store.delete(["d1"]),
        "compact": store.compact,
        "build_index": store.build_index,
    }[operation]
    with pytest.raises(StoreDamagedError, match="moved, removed or replaced while it was open"):
        act()
    store.close()
    if vanish is move_away:
        with LocalEmbeddingStore(ENCODER, tmp_path / "elsewhere") as moved:
            assert {document.id for document in moved.documents()} == {f"d{number}" for number in range(8)}
            assert moved.verify() == []


def test_a_folder_that_vanishes_during_a_write_does_not_acknowledge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        append = Transaction.append

        def vanishing(*arguments: Any) -> object:
            move_away(folder)
            return append(*arguments)

        monkeypatch.setattr(Transaction, "append", vanishing)
        with pytest.raises(StoreDamagedError, match="moved, removed or replaced"):
            store.add(documents([1]))


def test_a_folder_that_is_put_back_takes_writes_again(tmp_path: Path):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents([1]))
        move_away(folder)
        with pytest.raises(StoreDamagedError):
            store.add(documents([2]))
        folder.with_name("elsewhere").rename(folder)
        store.add(documents([2]))
        assert len(store) == 2
