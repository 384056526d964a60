from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import EncoderMismatchError, ReadOnlyStoreError, StoreDamagedError
from sightline.retrieval.store.database import migration

FORMAT_1 = Path(__file__).parents[2] / "data" / "golden-store-format-1"
ENCODER = HashingEncoder(4)
CONTENTS = {"lamp": "Desk lamp, grey", "é ★": "nul \x00", "mug": "Tea mug"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FORMAT_1, tmp_path / "store"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "writer.lock"}


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_a_store_of_format_1_is_brought_to_the_present_format_when_it_is_opened_for_writing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
):
    monkeypatch.setattr(migration, "_ROWS_AT_ONCE", rows_at_once)
    for _ in range(2):
        with LocalEmbeddingStore(ENCODER, folder) as store:
            assert {document.id: document.content for document in store.documents()} == CONTENTS
            assert store.verify() == []
            assert store.search([3, 4, 0, 0], top_k=1)[0].score == pytest.approx(1.0, abs=1e-6)
            assert [hit.document.id for hit in store.search([1, 0, 0, 0], where={"price": {"<": 10}})] == ["mug"]
    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.upsert([Document(id="mug", content="third")])
        assert store.compact() == 2
        assert store.verify() == []
    with LocalEmbeddingStore(ENCODER, folder, read_only=True) as store:
        assert len(store) == 3


def test_a_reader_says_that_a_writer_has_to_open_it_first(folder: Path):
    before = files(folder)
    with pytest.raises(ReadOnlyStoreError, match="has format 1; open it once for writing"):
        LocalEmbeddingStore(ENCODER, folder, read_only=True)
    assert {name: content for name, content in files(folder).items() if name in before} == before


def test_another_encoder_or_damage_is_refused_before_anything_is_changed(folder: Path):
    with pytest.raises(EncoderMismatchError):
        LocalEmbeddingStore(HashingEncoder(5), folder)
    vectors = np.frombuffer((folder / "vectors-000001.f32").read_bytes(), dtype="<f4")
    (folder / "vectors-000001.f32").write_bytes(vectors[:-1].tobytes())
    with pytest.raises(StoreDamagedError, match=r"vectors-000001\.f32 holds 60 bytes"):
        LocalEmbeddingStore(ENCODER, folder)
    (folder / "vectors-000001.f32").write_bytes(vectors.tobytes())
    with closing(sqlite3.connect(folder / "documents.sqlite", isolation_level=None)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.execute("UPDATE state SET row_count = 'many'")
    with pytest.raises(StoreDamagedError, match="table of states holds"):
        LocalEmbeddingStore(ENCODER, folder)


def test_a_damaged_store_of_format_1_is_repaired(folder: Path):
    with (folder / "vectors-000001.f32").open("r+b") as file:
        file.write(b"\x7f" * 16)
    with LocalEmbeddingStore(ENCODER, shutil.copytree(folder, folder.with_name("taken as it is"))) as store:
        assert len(store) == 3  # nothing tells that it is damaged
    with (folder / "documents.sqlite").open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 2048)
    report = LocalEmbeddingStore.repair(folder, ENCODER)
    with LocalEmbeddingStore(ENCODER, folder) as store:
        kept = {document.id: document.content for document in store.documents()}
        assert store.verify() == []
    assert kept.items() <= CONTENTS.items()
    assert report.kept == len(kept)
