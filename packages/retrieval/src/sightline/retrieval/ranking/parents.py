"""Searching small and returning large: passages are found, and the documents that they come from are given.

This module does not know how a document is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sightline.retrieval.backends.failover import RagRetriever
from sightline.retrieval.store.document import Document, SearchHit
from sightline.retrieval.store.filters import Where
from sightline.retrieval.store.parameters import checked_search
from sightline.retrieval.store.store import LocalEmbeddingStore

PARENT_KEY = "parent"
"""Metadata key under which a passage keeps the id of its document."""

_GROWTH = 4


class Piece(Protocol):
    """A piece of a text, such as a `Chunk` or a `Passage`."""

    @property
    def text(self) -> str:
        """The piece itself."""
        ...

    @property
    def start(self) -> int:
        """Where it begins in its text."""
        ...

    @property
    def end(self) -> int:
        """Where it ends."""
        ...


@dataclass(frozen=True, slots=True)
class ParentHit:
    """A document of which passages were found."""

    document: Document
    score: float
    """Cosine of its best passage."""
    passages: tuple[SearchHit, ...]
    """Its passages among those that were found, best first."""


def passage_documents(documents: Iterable[Document], split: Callable[[str], Iterable[Piece]]) -> Iterator[Document]:
    """Yield the passages of documents as documents: with their metadata, the id of the parent, the span and headings.

    Args:
        documents: documents to cut; the id of a passage is that of its document, `#` and a number.
        split: function from a text to its pieces, for example `chunk_text`.
    """
    for document in documents:
        for number, piece in enumerate(split(document.content)):
            own = {PARENT_KEY: document.id, "start": piece.start, "end": piece.end}
            if headings := getattr(piece, "headings", ()):
                own["headings"] = list(headings)
            yield Document(id=f"{document.id}#{number}", content=piece.text, metadata={**document.metadata, **own})


def search_parents(
    passages: LocalEmbeddingStore | RagRetriever,
    parents: LocalEmbeddingStore | Mapping[str, Document],
    query: str,
    *,
    top_k: int = 5,
    where: Where | None = None,
) -> list[ParentHit]:
    """Find the documents whose passages are nearest to a query.

    Args:
        passages: store or backends of what `passage_documents` made.
        parents: the documents themselves, by id.
        query: text that is not blank.
        top_k: most documents to return.
        where: filter on the metadata of passages.

    Returns:
        Documents, those with the best passage first; passages whose document is gone are passed over.

    Raises:
        StoreError: as the search raises it.
    """
    top_k, _ = checked_search(top_k, None)
    limit = _GROWTH * top_k
    while True:
        found = passages.search(query, top_k=limit, where=where)
        hits = found if isinstance(found, list) else found.hits
        grouped: dict[str, list[SearchHit]] = {}
        for hit in hits:
            grouped.setdefault(str(hit.document.metadata.get(PARENT_KEY)), []).append(hit)
        present = _present(parents, list(grouped))
        whole = [ParentHit(present[key], own[0].score, tuple(own)) for key, own in grouped.items() if key in present]
        if len(whole) >= top_k or len(hits) < limit:
            return whole[:top_k]
        limit *= _GROWTH


def _present(parents: LocalEmbeddingStore | Mapping[str, Document], ids: list[str]) -> Mapping[str, Document]:
    if isinstance(parents, LocalEmbeddingStore):
        return parents.get_many(ids)
    return {key: parents[key] for key in ids if key in parents}
