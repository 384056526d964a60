"""A store of texts and their embeddings with exact cosine search, kept in memory and saved to a folder.

Readers work on a snapshot that is never changed, so any number of threads may search while one writes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sightline.retrieval.encoders import TextEncoder
from sightline.retrieval.files import atomic_file, parse_record, read_jsonl, write_jsonl

_MANIFEST_FILE = "store.json"
# Scores of one matrix product differ in the last bits for equal vectors; near-ties within this are scored again.
_NEAR_TIE = 1e-5

Query: TypeAlias = str | ArrayLike
Where: TypeAlias = Mapping[str, JsonValue] | Callable[[Mapping[str, JsonValue]], bool]


class Document(BaseModel):
    """A text with an id of its own and whatever else is known of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    id: str = Field(min_length=1)
    """Unique within a store."""
    content: str = Field(min_length=1)
    """The text that is embedded."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """JSON values to filter by."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A document that was found, and its cosine similarity to the query."""

    document: Document
    score: float


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    encoder: str
    dimension: int
    documents: str
    vectors: str


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the store holds at one moment: row i of ``vectors`` [n, D] is the embedding of ``documents[i]``."""

    documents: tuple[Document, ...]
    vectors: NDArray[np.float32]
    row_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_of", {document.id: row for row, document in enumerate(self.documents)})


class LocalEmbeddingStore:
    """Documents with embeddings in memory; exact search by cosine.

    Writes copy what is there (add in batches rather than one by one); reads never wait for a write or for encoding.

    Args:
        encoder: embeds documents and queries.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._writing = threading.Lock()
        self._snapshot = _Snapshot((), np.zeros((0, encoder.dimension), dtype=np.float32))

    def __len__(self) -> int:
        """Number of documents."""
        return len(self._snapshot.documents)

    def __contains__(self, document_id: object) -> bool:
        """Whether there is a document of this id."""
        return document_id in self._snapshot.row_of

    def add(self, documents: Iterable[Document]) -> None:
        """Add documents, all or none.

        Raises:
            ValueError: an id is in the store already, or twice among the documents.
        """
        documents = _checked_documents(documents)
        vectors = self._embed([document.content for document in documents])
        with self._writing:
            old = self._snapshot
            if taken := [document.id for document in documents if document.id in old.row_of]:
                raise ValueError(f"the store already has a document {taken[0]!r}; use upsert to replace it")
            self._snapshot = _Snapshot((*old.documents, *documents), np.concatenate([old.vectors, vectors]))

    def upsert(self, documents: Iterable[Document]) -> None:
        """Add documents; those whose id is in the store take the place of the old ones.

        Raises:
            ValueError: an id is twice among the documents.
        """
        documents = _checked_documents(documents)
        vectors = self._embed([document.content for document in documents])
        with self._writing:
            old = self._snapshot
            fresh = [index for index, document in enumerate(documents) if document.id not in old.row_of]
            merged = [*old.documents, *(documents[index] for index in fresh)]
            merged_vectors = np.concatenate([old.vectors, vectors[fresh]])
            for document, vector in zip(documents, vectors, strict=True):
                if (row := old.row_of.get(document.id)) is not None:
                    merged[row], merged_vectors[row] = document, vector
            self._snapshot = _Snapshot(tuple(merged), merged_vectors)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents, all or none.

        Raises:
            KeyError: an id is not in the store.
        """
        unwanted = _checked_ids(ids)
        with self._writing:
            old = self._snapshot
            rows = [_row(old, document_id) for document_id in unwanted]
            kept = np.delete(np.arange(len(old.documents)), rows)
            self._snapshot = _Snapshot(tuple(old.documents[row] for row in kept), old.vectors[kept])

    def get(self, document_id: str) -> Document:
        """The document of this id.

        Raises:
            KeyError: the id is not in the store.
        """
        snapshot = self._snapshot
        return snapshot.documents[_row(snapshot, document_id)]

    def search(
        self, query: Query, *, top_k: int = 5, min_score: float | None = None, where: Where | None = None
    ) -> list[SearchHit]:
        """Find the documents most similar to a query.

        Args:
            query: a text, or a vector ``[dimension]`` of any length but zero.
            top_k: at most so many hits.
            min_score: leave out hits with a lower cosine, -1 to 1.
            where: metadata that a document must have with equal values, or a predicate on its metadata.

        Returns:
            Hits, best first; equal scores in the order in which the documents were added.

        Raises:
            TypeError: an argument is of another type.
            ValueError: the query is blank, zero, not finite or of another dimension; a number is out of range.
        """
        return self.search_batch([query], top_k=top_k, min_score=min_score, where=where)[0]

    def search_batch(
        self, queries: Sequence[Query], *, top_k: int = 5, min_score: float | None = None, where: Where | None = None
    ) -> list[list[SearchHit]]:
        """`search` for several queries at once, against one state of the store; one list of hits per query."""
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k must be an integer of at least 1, not {top_k!r}")
        if min_score is not None and not -1.0 <= min_score <= 1.0:
            raise ValueError(f"min_score must be a cosine between -1 and 1, not {min_score!r}")
        query_vectors = self._query_vectors(queries)
        snapshot = self._snapshot
        rows = _matching_rows(snapshot, where)
        vectors = snapshot.vectors if where is None else snapshot.vectors[rows]
        return [
            [
                SearchHit(snapshot.documents[rows[index]], score)
                for index, score in _best(vectors, query, scores, top_k)
                if min_score is None or score >= min_score
            ]
            for query, scores in zip(query_vectors, query_vectors @ vectors.T, strict=True)
        ]

    def save(self, folder: str | Path) -> None:
        """Write the store to a folder; a crash leaves what was saved there before, or this.

        Documents go to a JSONL file and vectors to an ``.npy`` file, both named after their content. The manifest
        ``store.json``, written last, says which of them count; files of earlier saves are then removed.
        """
        folder = Path(folder)
        with self._writing:  # two saves at once must not remove each other's files
            snapshot = self._snapshot
            digest = hashlib.sha256(np.ascontiguousarray(snapshot.vectors).data)
            for document in snapshot.documents:
                digest.update(document.model_dump_json().encode())
            version = digest.hexdigest()[:16]
            documents, vectors = f"documents-{version}.jsonl", f"vectors-{version}.npy"
            manifest = _Manifest(
                encoder=self._encoder.name, dimension=self._encoder.dimension, documents=documents, vectors=vectors
            )
            write_jsonl(folder / documents, snapshot.documents)
            with atomic_file(folder / vectors) as file:
                np.save(file, snapshot.vectors, allow_pickle=False)
            with atomic_file(folder / _MANIFEST_FILE) as file:
                file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
            for path in (*folder.glob("documents-*.jsonl"), *folder.glob("vectors-*.npy")):
                if path.name not in (documents, vectors):
                    path.unlink()

    @classmethod
    def load(cls, folder: str | Path, encoder: TextEncoder) -> LocalEmbeddingStore:
        """Read a store that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no store.
            ValueError: the store was made with another encoder, or a file of it is damaged.
        """
        folder = Path(folder)
        manifest_path = folder / _MANIFEST_FILE
        if not manifest_path.is_file():
            raise FileNotFoundError(f"{manifest_path} is missing; {folder} holds no saved store")
        manifest = parse_record(_Manifest, manifest_path.read_bytes(), where=str(manifest_path))
        if (manifest.encoder, manifest.dimension) != (encoder.name, encoder.dimension):
            raise ValueError(
                f"the store in {folder} was made with encoder {manifest.encoder!r} ({manifest.dimension} dimensions), "
                f"not {encoder.name!r} ({encoder.dimension}); load it with the former, or embed its documents anew"
            )
        documents = read_jsonl(folder / manifest.documents, Document)
        vectors_path = folder / manifest.vectors
        try:
            vectors = np.load(vectors_path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{vectors_path} is damaged: {error}") from error
        if vectors.dtype != np.float32 or vectors.shape != (len(documents), encoder.dimension):
            raise ValueError(
                f"{vectors_path} holds {vectors.dtype} of shape {list(vectors.shape)}, but {manifest.documents} asks "
                f"for float32 of shape [{len(documents)}, {encoder.dimension}]"
            )
        store = cls(encoder)
        store._snapshot = _Snapshot(tuple(_checked_documents(documents)), vectors)
        return store

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit embeddings ``[n, dimension]``."""
        if not texts:
            return np.zeros((0, self._encoder.dimension), dtype=np.float32)
        vectors = np.asarray(self._encoder.encode(texts), dtype=np.float32)
        return _unit_rows(vectors, (len(texts), self._encoder.dimension), f"encoder {self._encoder.name!r}")

    def _query_vectors(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Unit query vectors ``[q, dimension]``; all texts are encoded in one call."""
        if isinstance(queries, str):
            raise TypeError(f"search_batch takes a sequence of queries, not the string {queries!r}; use search for one")
        vectors = np.zeros((len(queries), self._encoder.dimension), dtype=np.float32)
        texts: dict[int, str] = {}
        for number, query in enumerate(queries):
            if not isinstance(query, str):
                row = np.asarray(query, dtype=np.float32)[None]
                vectors[number] = _unit_rows(row, (1, self._encoder.dimension), "query")
            elif query.strip():
                texts[number] = query
            else:
                raise ValueError(f"query {query!r} is blank; give a text or a vector")
        vectors[list(texts)] = self._embed(list(texts.values()))
        return vectors


def _checked_documents(documents: Iterable[Document]) -> list[Document]:
    documents = list(documents)
    seen: set[str] = set()
    for document in documents:
        if not isinstance(document, Document):
            raise TypeError(f"expected a Document, not {document!r}; write Document(id=..., content=...)")
        if document.id in seen:
            raise ValueError(f"two documents have the id {document.id!r}; ids must be unique")
        seen.add(document.id)
    return documents


def _checked_ids(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise TypeError(f"delete takes a sequence of ids, not one string; write delete([{ids!r}])")
    return list(ids)


def _row(snapshot: _Snapshot, document_id: str) -> int:
    try:
        return snapshot.row_of[document_id]
    except KeyError:
        raise KeyError(f"the store has no document {document_id!r}") from None


def _matching_rows(snapshot: _Snapshot, where: Where | None) -> Sequence[int]:
    if where is None:
        return range(len(snapshot.documents))
    if callable(where):
        return [row for row, document in enumerate(snapshot.documents) if where(document.metadata)]
    if not isinstance(where, Mapping):
        raise TypeError(f"where must be a mapping of metadata or a predicate, not {where!r}")
    wanted = where.items()
    return [
        row
        for row, document in enumerate(snapshot.documents)
        if all(key in document.metadata and document.metadata[key] == value for key, value in wanted)
    ]


def _best(
    vectors: NDArray[np.float32], query: NDArray[np.float32], scores: NDArray[np.float32], k: int
) -> list[tuple[int, float]]:
    """The k best rows of ``vectors`` [n, D] with their scores, best first, equal scores in the order of rows."""
    k = min(k, len(scores))
    if k == 0:
        return []
    threshold = np.partition(scores, -k)[-k] - _NEAR_TIE
    candidates = np.flatnonzero(scores >= threshold)
    exact = np.clip((vectors[candidates] * query).sum(axis=1), -1.0, 1.0)
    order = np.argsort(-exact, kind="stable")[:k]
    return [(int(candidates[index]), float(exact[index])) for index in order]


def _unit_rows(vectors: NDArray[np.float32], shape: tuple[int, int], source: str) -> NDArray[np.float32]:
    if vectors.shape != shape:
        raise ValueError(f"{source}: expected vectors of shape {list(shape)}, not {list(vectors.shape)}")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not norms.all():
        raise ValueError(f"{source}: a vector is zero or holds a value that is not finite")
    return vectors / norms
