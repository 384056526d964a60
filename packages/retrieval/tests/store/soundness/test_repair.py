from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreDamagedError, StoreError, StoreLockedError
from sightline.retrieval.store import RepairReport
from sightline.retrieval.store.disk.folder import StoreFolder

ENCODER = HashingEncoder(16)
VECTORS = "vectors-000001.f32"
COUNT = 40


def document(number: int, text: str = "text") -> Document:
    return Document(id=f"d{number}", content=f"{text} {number}", metadata={"n": number})


EXPECTED = {f"d{n}": document(n, "newer" if n in (5, 6) else "text") for n in range(COUNT)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of forty documents after a compaction, replacements and deletions."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(document(n) for n in range(COUNT + 4))
        store.delete(["d40", "d41"])
        store.compact()
        store.upsert(document(n, "newer") for n in (5, 6))
        store.delete(["d42", "d43"])
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def assert_repaired(folder: Path, report: RepairReport, missing: Sequence[str] = ()) -> None:
    """The store is sound and holds all but the missing, each with its own vector."""
    with LocalEmbeddingStore(ENCODER, folder) as store:
        assert store.verify() == []
        expected = {name: each for name, each in EXPECTED.items() if name not in missing}
        assert {each.id: each for each in store.documents()} == expected
        assert report.kept == len(store) == len(expected)
        for each in expected.values():
            (hits,) = store.search_batch([each.content], top_k=1)
            assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        assert [hit.document.id for hit in store.search("x", where={"n": {"<": 3}})] == ["d0", "d1", "d2"]
        store.add([Document(id="later", content="later")])
        store.delete(["later"])


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        connection.execute(statement)


def test_a_sound_store_is_left_as_it_is(folder: Path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert LocalEmbeddingStore.repair(folder) == RepairReport(COUNT, (), None)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "writer.lock"} == {
        name: content for name, content in before.items() if name != "writer.lock"
    }


def test_what_lost_its_vector_is_given_up_without_an_encoder_and_kept_aside(folder: Path):
    damaged = {name: (folder / name).read_bytes() for name in ("documents.sqlite", VECTORS)}
    overwrite(folder / VECTORS, 17 * 64, b"\x01" * 64)
    damaged[VECTORS] = (folder / VECTORS).read_bytes()
    report = LocalEmbeddingStore.repair(folder)
    assert [(damage.document_id, "no encoder was given" in damage.problem) for damage in report.lost] == [("d17", True)]
    assert report.aside == folder / "damaged-000"
    assert {path.name: path.read_bytes() for path in report.aside.iterdir()} == damaged
    assert_repaired(folder, report, missing=["d17"])


def test_what_lost_its_vector_is_embedded_again_with_the_encoder(folder: Path):
    overwrite(folder / VECTORS, 17 * 64, np.float32(np.nan).tobytes())
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    assert report.lost == ()
    assert_repaired(folder, report)


@pytest.mark.parametrize("damage", ["gone", "short", "empty"])
def test_vectors_that_are_gone_are_made_again_from_the_texts(folder: Path, damage: str):
    if damage == "gone":
        (folder / VECTORS).unlink()
    else:
        content = (folder / VECTORS).read_bytes()
        (folder / VECTORS).write_bytes(content[: 64 * 11 + 5 if damage == "short" else 0])
    with pytest.raises(StoreDamagedError, match=r"LocalEmbeddingStore\.repair|restore"):
        LocalEmbeddingStore(ENCODER, folder)
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    assert report.lost == ()
    assert_repaired(folder, report)


def test_a_text_that_changed_is_given_up_and_the_version_it_replaced_does_not_come_back(folder: Path):
    execute(folder, "UPDATE documents SET content = x'41' WHERE row = (SELECT max(row) FROM documents)")
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    assert [damage.document_id for damage in report.lost] == ["d6"]
    assert_repaired(folder, report, missing=["d6"])


def test_values_to_filter_by_are_made_again_from_the_metadata(folder: Path):
    execute(folder, "UPDATE attributes SET value = 1000")
    report = LocalEmbeddingStore.repair(folder)
    assert report.lost == ()
    assert_repaired(folder, report)


def test_where_deletions_are_lost_the_report_says_so_and_replaced_documents_stay_replaced(folder: Path):
    execute(folder, "DELETE FROM tombstones")
    report = LocalEmbeddingStore.repair(folder)
    assert [damage.problem for damage in report.lost] == [
        "the list of deleted documents is damaged: some that were deleted may be back"
    ]
    with LocalEmbeddingStore(ENCODER, folder) as store:
        assert {each.id: each for each in store.documents()} == EXPECTED | {f"d{n}": document(n) for n in (42, 43)}


def test_without_a_state_the_encoder_has_to_be_given(folder: Path):
    execute(folder, "DELETE FROM state")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(StoreDamagedError, match="does not tell its encoder any more; give it"):
        LocalEmbeddingStore.repair(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    assert [damage.document_id for damage in report.lost] == [None]
    with LocalEmbeddingStore(ENCODER, folder) as store:
        assert {each.id for each in store.documents()} >= {*EXPECTED}


@pytest.mark.parametrize("flipped", [0x01, 0x41, 0x80])
@pytest.mark.parametrize(
    "statement",
    [b"CREATE TABLE state (", b"CREATE TABLE documents (", b"CREATE INDEX documents_by_id", b"CREATE TABLE tombstones"],
)
def test_a_damaged_definition_of_a_table_costs_nothing(folder: Path, statement: bytes, flipped: int):
    database = folder / "documents.sqlite"
    place = database.read_bytes().rindex(statement) + len(statement) - 4
    overwrite(database, place, bytes([database.read_bytes()[place] ^ flipped]))
    with pytest.raises(StoreDamagedError):
        LocalEmbeddingStore(ENCODER, folder)
    assert_repaired(folder, LocalEmbeddingStore.repair(folder))


def test_where_no_document_can_be_read_the_store_stays_as_it_is(folder: Path):
    database = folder / "documents.sqlite"
    overwrite(database, 100, b"\xff" * 3996)  # the list of tables
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(StoreDamagedError, match="no document can be read any more"):
        LocalEmbeddingStore.repair(folder, ENCODER)
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_a_page_of_the_database_that_cannot_be_read_costs_only_what_is_on_it(tmp_path: Path):
    folder = tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(Document(id=f"d{n}", content=f"text {n} " + "x" * 500, metadata={"n": n}) for n in range(400))
        expected = {each.id: each for each in store.documents()}
    size = (folder / "documents.sqlite").stat().st_size
    overwrite(folder / "documents.sqlite", size // 2 // 4096 * 4096, b"\xff" * 4096)
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    with LocalEmbeddingStore(ENCODER, folder) as store:
        kept = {each.id: each for each in store.documents()}
        assert store.verify() == []
    assert 380 <= len(kept) == report.kept <= 400
    assert kept.items() <= expected.items()


def test_a_database_of_another_kind_or_none_is_refused(tmp_path: Path, folder: Path):
    with pytest.raises(FileNotFoundError, match="no database to repair"):
        LocalEmbeddingStore.repair(tmp_path / "nothing")
    with LocalEmbeddingStore(ENCODER, folder), pytest.raises(StoreLockedError):
        LocalEmbeddingStore.repair(folder)


def test_what_was_in_the_log_when_the_writer_died_is_kept_too(tmp_path: Path):
    source, folder = tmp_path / "source", tmp_path / "store"
    with LocalEmbeddingStore(ENCODER, source) as store:
        store.add(document(n) for n in range(5))
        shutil.copytree(source, folder)
    assert (folder / "documents.sqlite-wal").stat().st_size
    overwrite(folder / "vectors-000000.f32", 2 * 64, b"\x01" * 64)
    report = LocalEmbeddingStore.repair(folder)
    assert (report.kept, [damage.document_id for damage in report.lost]) == (4, ["d2"])
    assert report.aside is not None
    assert (report.aside / "documents.sqlite-wal").stat().st_size
    assert not (folder / "documents.sqlite-wal").exists()


def test_a_second_repair_keeps_its_files_apart_from_the_first(folder: Path):
    for round_number, name in enumerate(["d3", "d9"]):
        vectors = max(path for path in folder.glob("vectors-*"))
        overwrite(vectors, int(name[1:]) * 64, b"\x01" * 64)
        report = LocalEmbeddingStore.repair(folder, ENCODER)
        assert report.aside == folder / f"damaged-{round_number:03d}"
    assert_repaired(folder, report)


STEPS = ["copy_aside", "copy_database", "take_repaired", "put_repaired_in_place"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_repair_that_is_interrupted_loses_nothing_and_is_taken_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
):
    overwrite(folder / VECTORS, 17 * 64, b"\x01" * 64)
    method = getattr(StoreFolder, step)

    def interrupted(*arguments: object) -> None:
        if moment == "after":
            method(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StoreFolder, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            LocalEmbeddingStore.repair(folder)
    if (step, moment) in {("take_repaired", "after"), ("put_repaired_in_place", "before")}:
        for read_only in (True, False):
            with pytest.raises(StoreDamagedError, match="in the middle of a repair"):
                LocalEmbeddingStore(ENCODER, folder, read_only=read_only)
    report = LocalEmbeddingStore.repair(folder)
    assert_repaired(folder, report, missing=["d17"])


def replacing_until(calls_before: int) -> Callable[[Path, Path], Path]:
    left = calls_before
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("the disk is gone")
        return replace(path, target)

    return fail


@pytest.mark.parametrize("calls_before", range(6))
def test_a_disk_that_gives_out_at_any_move_leaves_what_another_repair_can_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, calls_before: int
):
    overwrite(folder / VECTORS, 17 * 64, b"\x01" * 64)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replacing_until(calls_before))
        with suppress(OSError, StoreError):
            LocalEmbeddingStore.repair(folder, ENCODER)
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    assert_repaired(folder, report)
