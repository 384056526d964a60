"""Documents with their vectors in files that other programs read: JSON Lines, or Parquet.

A file of JSON Lines begins with a line that names the encoder, and goes on with one document per line. Parquet has the
columns `id`, `content`, `metadata` (JSON) and `vector`, and the encoder in its metadata. This module does not know how
a store keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError, parse_record
from sightline.retrieval.store.document import Document, DocumentPage
from sightline.retrieval.store.filters import Where
from sightline.retrieval.store.metadata import metadata_from_json, metadata_json
from sightline.retrieval.store.store import LocalEmbeddingStore
from sightline.retrieval.text.protocol import Vectors

_AT_ONCE = 1000
_ENCODER_KEY = b"sightline.encoder"


class FileHead(BaseModel):
    """The first line of an export."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    format: Literal["sightline-documents"] = "sightline-documents"
    """What the file holds."""
    schema_version: Literal[1] = 1
    """Version of this form."""
    encoder: str
    """Name of the encoder of the vectors."""
    dimension: int
    """Length of a vector."""


class DocumentLine(BaseModel):
    """One document of an export, or of any file of JSON Lines with these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    id: str
    """Its id."""
    content: str
    """Its text."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Its metadata; dates as `{"$date": "2026-05-01"}`."""
    vector: list[float] | None = None
    """Its vector; None to encode the text."""


def write_documents(store: LocalEmbeddingStore, path: str | Path, *, where: Where | None = None) -> int:
    """Write documents with their vectors to a file, atomically.

    Args:
        store: store of the documents.
        path: file whose name ends in `.jsonl` or `.parquet`.
        where: filter on metadata; None for all documents.

    Returns:
        How many there are.

    Raises:
        ImportError: the extra `parquet` is not installed.
        OSError: the file cannot be written.
        ValueError: the name ends otherwise.
    """
    path = Path(path)
    return (_write_parquet if _is_parquet(path) else _write_lines)(store, path, where)


def read_documents(store: LocalEmbeddingStore, path: str | Path, *, encode: bool = False) -> int:
    """Upsert the documents of a file, a thousand at a time: after an error those before it are in the store.

    Args:
        store: store to write to.
        path: file as `write_documents` writes it; JSON Lines may also lack the first line, and vectors.
        encode: True to encode all texts anew, whatever encoder the vectors are of.

    Returns:
        How many there were.

    Raises:
        EncoderMismatchError: the vectors are of another encoder, and not `encode`.
        ImportError: the extra `parquet` is not installed.
        RecordError: the file does not hold documents; the message names the place.
    """
    path, total = Path(path), 0
    with closing((_read_parquet if _is_parquet(path) else _read_lines)(store, path, encode)) as batches:
        for documents, vectors in batches:
            total += len(documents)
            given = [place for place, vector in enumerate(vectors) if vector is not None and not encode]
            bare = [place for place in range(len(documents)) if place not in set(given)]
            if given:
                store.upsert([documents[place] for place in given], np.array([vectors[place] for place in given]))
            if bare:
                store.upsert([documents[place] for place in bare])
    return total


def _pages(store: LocalEmbeddingStore, where: Where | None) -> Iterator[tuple[DocumentPage, Vectors]]:
    after: str | None = None
    while True:
        page = store.page(where, after=after, limit=_AT_ONCE, with_vectors=True)
        if page.documents and page.vectors is not None:
            yield page, page.vectors
        after = page.after
        if after is None:
            return


def _write_lines(store: LocalEmbeddingStore, path: Path, where: Where | None) -> int:
    total = 0
    with atomic_file(path) as file:
        head = FileHead(encoder=store.encoder.name, dimension=store.encoder.dimension)
        file.write(head.model_dump_json().encode() + b"\n")
        for page, vectors in _pages(store, where):
            for document, vector in zip(page.documents, vectors.astype(np.float64), strict=True):
                fields = {**json.loads(document.model_dump_json()), "vector": vector.tolist()}
                file.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
            total += len(page.documents)
    return total


def _read_lines(store: LocalEmbeddingStore, path: Path, encode: bool) -> Generator[tuple[list[Document], list[Any]]]:
    documents: list[Document] = []
    vectors: list[Any] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if number == 1 and b'"sightline-documents"' in line:
                head = parse_record(FileHead, line, where=where)
                _require_encoder(store, (head.encoder, head.dimension), path, encode)
            elif line.strip():
                record = parse_record(DocumentLine, line, where=where)
                documents.append(_document(record.model_dump(exclude={"vector"}), where))
                vectors.append(record.vector)
            if len(documents) == _AT_ONCE:
                yield documents, vectors
                documents, vectors = [], []
    if documents:
        yield documents, vectors


def _write_parquet(store: LocalEmbeddingStore, path: Path, where: Where | None) -> int:
    arrow = _arrow()
    dimension, total = store.encoder.dimension, 0
    schema = arrow.schema(
        [
            ("id", arrow.string()),
            ("content", arrow.string()),
            ("metadata", arrow.string()),
            ("vector", arrow.list_(arrow.float32(), dimension)),
        ],
        metadata={_ENCODER_KEY: store.encoder.name.encode()},
    )
    with atomic_file(path) as file, arrow.parquet.ParquetWriter(file, schema) as writer:
        for page, vectors in _pages(store, where):
            columns = [
                arrow.array([document.id for document in page.documents]),
                arrow.array([document.content for document in page.documents]),
                arrow.array([metadata_json(document.metadata) for document in page.documents]),
                arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), dimension),
            ]
            writer.write_batch(arrow.record_batch(columns, schema=schema))
            total += len(page.documents)
    return total


def _read_parquet(store: LocalEmbeddingStore, path: Path, encode: bool) -> Generator[tuple[list[Document], list[Any]]]:
    arrow = _arrow()
    with arrow.parquet.ParquetFile(path) as file:
        kept = file.schema_arrow.metadata or {}
        if _ENCODER_KEY in kept:
            dimension = file.schema_arrow.field("vector").type.list_size
            _require_encoder(store, (kept[_ENCODER_KEY].decode(), dimension), path, encode)
        row = 0
        for batch in file.iter_batches(_AT_ONCE, columns=["id", "content", "metadata", "vector"]):
            table = batch.to_pydict()
            documents = []
            for document_id, content, metadata in zip(table["id"], table["content"], table["metadata"], strict=True):
                row += 1
                place = f"{path}, row {row}"
                try:
                    fields = {"id": document_id, "content": content, "metadata": metadata_from_json(metadata)}
                except (TypeError, ValueError) as error:
                    raise RecordError(f"{place}: the metadata is no JSON ({error})") from error
                documents.append(_document(fields, place))
            yield documents, table["vector"]


def _document(fields: Mapping[str, Any], place: str) -> Document:
    try:
        return Document.model_validate(fields)
    except ValidationError as error:
        raise RecordError(f"{place}: {error.errors(include_url=False)[0]['msg']}") from error


def _require_encoder(store: LocalEmbeddingStore, made_with: tuple[str, int], path: Path, encode: bool) -> None:
    if not encode and made_with != (store.encoder.name, store.encoder.dimension):
        raise EncoderMismatchError(
            f"{path} holds vectors of encoder {made_with[0]!r} ({made_with[1]} numbers), the store those of "
            f"{store.encoder.name!r} ({store.encoder.dimension}); give encode=True to encode the texts anew"
        )


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{path} must end in .jsonl or .parquet, which says what the file is")
    return path.suffix == ".parquet"


def _arrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "pyarrow is not installed, and Parquet files need it; "
            "install it with: pip install 'sightline-retrieval[parquet]'"
        ) from error
    return pyarrow
