from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.jsonl import RecordError
from sightline.retrieval.store import exchange, read_documents, write_documents

ENCODER = HashingEncoder(16)
DOCUMENTS = [
    Document(
        id=f"{n:03d}", content=f"text {n} \U0001f600", metadata={"n": n, "on": date(2026, 1, 1 + n % 9), "l": [1, None]}
    )
    for n in range(25)
]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> LocalEmbeddingStore:
    monkeypatch.setattr(exchange, "_AT_ONCE", 10)
    store = LocalEmbeddingStore(ENCODER)
    store.add(DOCUMENTS, np.random.default_rng(0).normal(size=(25, 16)))
    return store


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_is_exported_is_imported_with_its_vectors(store: LocalEmbeddingStore, tmp_path: Path, ending: str):
    path = tmp_path / f"all.{ending}"
    assert write_documents(store, path) == 25
    other = LocalEmbeddingStore(ENCODER)
    assert read_documents(other, path) == 25
    mine, theirs = (one.page(limit=99, with_vectors=True) for one in (store, other))
    assert mine.documents == theirs.documents == tuple(DOCUMENTS)
    assert mine.vectors is not None
    assert theirs.vectors is not None
    np.testing.assert_allclose(mine.vectors, theirs.vectors, atol=1e-7)
    assert write_documents(store, path, where={"n": {"<": 3}}) == 3


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_vectors_of_another_encoder_are_refused_or_made_anew(store: LocalEmbeddingStore, tmp_path: Path, ending: str):
    path = tmp_path / f"all.{ending}"
    write_documents(store, path)
    other = LocalEmbeddingStore(HashingEncoder(8))
    with pytest.raises(EncoderMismatchError, match="encode=True"):
        read_documents(other, path)
    assert len(other) == 0
    read_documents(other, path, encode=True)
    assert other.search(DOCUMENTS[3].content, top_k=1)[0].document == DOCUMENTS[3]


def test_plain_lines_need_neither_head_nor_vectors(tmp_path: Path):
    path = tmp_path / "plain.jsonl"
    path.write_text(
        '{"id": "a", "content": "lamp"}\n\n{"id": "b", "content": "mug", "metadata": {"d": {"$date": "2026-01-02"}}}\n'
    )
    store = LocalEmbeddingStore(ENCODER)
    assert read_documents(store, path) == 2
    assert store.get("b").metadata == {"d": date(2026, 1, 2)}
    assert store.search("lamp", top_k=1)[0].document.id == "a"


def test_a_parquet_file_is_one_that_others_read(store: LocalEmbeddingStore, tmp_path: Path):
    write_documents(store, tmp_path / "all.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    assert table.num_rows == 25
    assert json.loads(table["metadata"][1].as_py())["on"] == {"$date": "2026-01-02"}


def test_errors_name_the_place(tmp_path: Path):
    store, path = LocalEmbeddingStore(ENCODER), tmp_path / "broken.jsonl"
    path.write_text('{"id": "a", "content": "lamp"}\n{"id": "b"}\n')
    with pytest.raises(RecordError, match=r"broken.jsonl, line 2, field 'content'"):
        read_documents(store, path)
    path.write_text('{"id": "", "content": "lamp"}\n')
    with pytest.raises(RecordError, match="line 1"):
        read_documents(store, path)
    with pytest.raises(ValueError, match=r"\.jsonl or \.parquet"):
        write_documents(store, tmp_path / "all.csv")
