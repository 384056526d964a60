from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreDamagedError, StoreError
from sightline.retrieval.store import Damage
from sightline.retrieval.store.database.transaction import Transaction

ENCODER = HashingEncoder(16)
VECTORS = "vectors-000001.f32"


def documents(first: int, end: int) -> list[Document]:
    return [
        Document(id=f"d{n}", content=f"text {n} of {n * 7}", metadata={"n": n, "tags": ["a", n % 3]})
        for n in range(first, end)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of forty documents after a compaction, replacements and deletions."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents(0, 44))
        store.delete(["d40", "d41"])
        store.compact()
        store.upsert(documents(5, 8))
        store.delete(["d42", "d43"])
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def found(folder: Path) -> list[Damage]:
    with LocalEmbeddingStore(ENCODER, folder, read_only=True) as store:
        return store.verify()


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("path", [None, "folder"])
def test_a_sound_store_has_no_damage(folder: Path, path: str | None):
    assert found(folder) == []
    with LocalEmbeddingStore(ENCODER, None if path is None else folder) as store:
        store.upsert(documents(0, 9))
        store.delete(["d3"])
        assert store.verify() == []
        store.compact()
        assert store.verify() == []


@pytest.mark.parametrize(
    "content",
    [b"\x01" * 64, np.float32(np.nan).tobytes(), np.float32(1e30).tobytes(), np.float32(np.inf).tobytes()],
    ids=["64 bytes", "not a number", "1e30", "infinity"],
)
def test_a_vector_that_changed_is_named_with_its_document(folder: Path, content: bytes):
    overwrite(folder / VECTORS, 17 * 64, content)
    (damage,) = found(folder)
    assert (damage.file, damage.document_id) == (VECTORS, "d17")
    assert "does not match its checksum" in damage.problem
    assert "encoder" in damage.remedy


def test_a_vector_that_changed_is_never_a_hit(folder: Path):
    overwrite(folder / VECTORS, 17 * 64, np.float32(1e30).tobytes())
    with LocalEmbeddingStore(ENCODER, folder) as store:
        with pytest.raises(StoreDamagedError, match=rf"{VECTORS}: the vector of row 17 .*LocalEmbeddingStore\.repair"):
            store.search("text 3", top_k=42)
        assert store.get("d17").metadata["n"] == 17


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str | None]] = {
    "content": (
        lambda folder: execute(folder, "UPDATE documents SET content = x'41' WHERE id = CAST('d9' AS BLOB)"),
        "does not match their checksum",
        "d9",
    ),
    "metadata": (
        lambda folder: execute(folder, "UPDATE documents SET metadata = '{}' WHERE id = CAST('d9' AS BLOB)"),
        "does not match their checksum",
        "d9",
    ),
    "a value to filter by": (
        lambda folder: execute(folder, "UPDATE attributes SET value = 99 WHERE value = 12"),
        "values to filter it by are not those of its metadata",
        "d12",
    ),
    "a value to filter by is gone": (
        lambda folder: execute(folder, "DELETE FROM attributes WHERE value = 12"),
        "values to filter it by are not those of its metadata",
        "d12",
    ),
    "a value of no document": (
        lambda folder: execute(folder, "INSERT INTO attributes VALUES (x'61', 1, 9999)"),
        "1 values to filter by belong to no document",
        None,
    ),
    "a deletion is gone": (
        lambda folder: execute(folder, "DELETE FROM tombstones WHERE row = 41"),
        "list of deleted documents does not match its checksum",
        None,
    ),
    "a deletion too many": (
        lambda folder: execute(folder, "INSERT INTO tombstones VALUES (9)"),
        "list of deleted documents does not match its checksum",
        None,
    ),
    "a replaced document is back": (
        lambda folder: execute(folder, "DELETE FROM tombstones WHERE row = 6"),
        "two documents have this id",
        "d6",
    ),
    "an id is none": (
        lambda folder: execute(folder, "UPDATE documents SET id = 1000000 WHERE row = 9"),
        "its text or metadata does not match their checksum",
        None,
    ),
    "metadata is bytes": (
        lambda folder: execute(folder, "UPDATE documents SET metadata = CAST(metadata AS BLOB) WHERE row = 9"),
        "does not match their checksum",
        "d9",
    ),
    "metadata is no dictionary": (
        lambda folder: execute(folder, "UPDATE documents SET metadata = '[1]' WHERE row = 9"),
        "does not match their checksum",
        "d9",
    ),
    "the count of the database's free pages": (
        lambda folder: overwrite(folder / "documents.sqlite", 36, (5).to_bytes(4, "big")),
        "reelist: size is",
        None,
    ),
    "an index of the database": (
        lambda folder: execute(folder, "DROP INDEX documents_by_id"),
        "it lacks what CREATE INDEX documents_by_id makes",
        None,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_part_that_contradicts_another_is_named(folder: Path, damage: str):
    inflict, problem, document_id = DAMAGES[damage]
    inflict(folder)
    assert any(problem in each.problem and each.document_id == document_id for each in found(folder)), found(folder)


def test_a_document_whose_text_changed_is_an_error_for_whoever_reads_it(folder: Path):
    DAMAGES["content"][0](folder)
    with LocalEmbeddingStore(ENCODER, folder, read_only=True) as store:
        for read in (lambda: store.get("d9"), lambda: list(store.documents()), lambda: store.search("x", top_k=42)):
            with pytest.raises(StoreDamagedError, match="fields of document b'd9' do not match"):
                read()
        assert store.get("d8").metadata["n"] == 8


def test_vectors_that_were_cut_under_an_open_store_are_an_error_and_no_crash(folder: Path):
    with LocalEmbeddingStore(ENCODER, folder) as store:
        os.truncate(folder / VECTORS, 64 * 20)
        for use in (lambda: store.search("text 3"), lambda: store.get("d3")):
            with pytest.raises(StoreDamagedError, match=rf"{VECTORS} was cut to 1,280 bytes while it was open"):
                use()
        (damage,) = store.verify()
        assert "was cut" in damage.problem


@pytest.mark.parametrize("damage", ["an id is none", "metadata is bytes"])
def test_fields_of_the_wrong_type_are_an_error_for_whoever_reads_them(folder: Path, damage: str):
    DAMAGES[damage][0](folder)
    with LocalEmbeddingStore(ENCODER, folder, read_only=True) as store:
        for read in (lambda: list(store.documents()), lambda: store.search("x", top_k=42)):
            with pytest.raises(StoreDamagedError, match=r"fields of document .* do not match"):
                read()


def test_a_tombstone_on_no_row_is_named_when_the_store_is_opened(folder: Path):
    execute(folder, "INSERT INTO tombstones VALUES (-3)")
    with pytest.raises(StoreDamagedError, match=r"it counts 45 rows, and has tombstones on -3 to "):
        found(folder)


@pytest.mark.parametrize("flipped", [0x01, 0x41, 0x80])
def test_a_damaged_definition_of_a_table_is_named_whatever_sqlite_says_of_it(folder: Path, flipped: int):
    whole = (folder / "documents.sqlite").read_bytes()
    for statement in (b"CREATE TABLE tombstones (row INTEGER PRIMARY KEY)", b"CREATE TABLE documents ("):
        start = whole.rindex(statement)
        for place in range(start, start + len(statement)):
            altered = bytes([whole[place] ^ flipped])
            (folder / "documents.sqlite").write_bytes(whole[:place] + altered + whole[place + 1 :])
            with suppress(StoreDamagedError):
                assert found(folder), f"byte {place} is damaged, and nothing names it"


def test_a_missing_or_altered_index_file_is_named(folder: Path):
    pytest.importorskip("usearch", reason="needs the extra 'approximate'")
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.build_index()
        assert store.verify() == []
        (path,) = folder.glob("index-*")
        overwrite(path, 100, b"\xff")
        (damage,) = store.verify()
        assert (damage.file, damage.problem) == (path.name, "the approximate index does not match its checksum")
    with pytest.raises(StoreDamagedError, match=rf"{path.name} does not match its checksum"):
        LocalEmbeddingStore(ENCODER, folder)
    path.unlink()
    with LocalEmbeddingStore(ENCODER, folder) as store:
        assert [damage.problem for damage in store.verify()] == ["the approximate index is missing"]
        store.build_index()
        assert store.verify() == []


def answers(folder: Path) -> object:
    """Everything that a store says of its documents."""
    with LocalEmbeddingStore(ENCODER, folder, read_only=True) as store:
        hits = store.search_batch(np.eye(16), top_k=99)
        by_number = [[hit.document.id for hit in store.search("x", top_k=99, where={"n": n})] for n in range(45)]
        return list(store.documents()), hits, by_number


def check_flips(folder: Path, target: Path, places: list[tuple[str, int]]) -> int:
    """Flip one byte at each place: it is named, or every answer is as it was. Returns how many are named."""
    expected, named = answers(folder), 0
    for name, place in places:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        with (target / name).open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0x41]))
        try:
            damage = found(target)
        except (StoreError, FileNotFoundError):
            named += 1
            continue
        if damage:
            named += 1
        else:
            assert answers(target) == expected, f"byte {place} of {name} changes answers, and nothing names it"
    return named


def flips(folder: Path, count: int, seed: int) -> list[tuple[str, int]]:
    rng = np.random.default_rng(seed)
    files = [path for path in folder.iterdir() if path.stat().st_size]
    chosen = rng.choice(len(files), count)
    return [(files[i].name, int(rng.integers(files[i].stat().st_size))) for i in chosen]


def test_of_fifty_flipped_bytes_each_is_named_or_changes_nothing(whole: Path, tmp_path: Path):
    assert check_flips(whole, tmp_path / "flipped", flips(whole, 50, seed=0)) > 20


@pytest.mark.slow
def test_of_all_bytes_each_is_named_or_changes_nothing(whole: Path, tmp_path: Path):
    places = [(path.name, place) for path in whole.iterdir() for place in range(0, path.stat().st_size, 3)]
    assert check_flips(whole, tmp_path / "flipped", places) > 1000


def test_a_state_that_contradicts_the_documents_is_named(folder: Path):
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        transaction = Transaction(connection, folder / "documents.sqlite")
        state = transaction.state()
        connection.execute("DELETE FROM documents WHERE row = 11")
        transaction.set_state(state)
    assert any(damage.problem == "row 11 has no document" for damage in found(folder))
