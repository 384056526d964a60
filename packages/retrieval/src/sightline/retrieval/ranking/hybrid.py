"""Search by words and by meaning at once: BM25 and embeddings of the same documents, joined by reciprocal-rank fusion.

This module does not know how embeddings are made, nor how words are indexed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from numpy.typing import ArrayLike

from sightline.retrieval.awaiting import Awaited
from sightline.retrieval.backends.failover import RagRetriever
from sightline.retrieval.backends.filter_translation import holds
from sightline.retrieval.errors import InvalidQueryError, UnknownDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.ranking.fusion import reciprocal_rank_fusion
from sightline.retrieval.ranking.word_index import WordIndex
from sightline.retrieval.store.document import MAX_CONTENT_CHARACTERS, Document, document_records
from sightline.retrieval.store.filters import MetadataFilter, Where, parse_filter
from sightline.retrieval.store.parameters import checked_ids, checked_search
from sightline.retrieval.store.store import LocalEmbeddingStore
from sightline.retrieval.text.unit_vectors import UnitVectors

logger = logging.getLogger(__name__)

_INDEXED_AT_ONCE = 20_000
_FIRST_FETCH, _GROWTH = 2, 4


@dataclass(frozen=True, slots=True)
class HybridHit:
    """A document that was found by words, by meaning or by both."""

    document: Document
    score: float
    """Of reciprocal-rank fusion; at most 2 / 61."""
    dense_rank: int | None
    """Its place by cosine, from 1; None if it was not among the candidates."""
    lexical_rank: int | None
    """Its place by BM25, from 1; None if it was not among the candidates or shares no word with the query."""


class HybridSearch:
    """BM25 beside the embeddings of a `LocalEmbeddingStore`, or of the backends of a `RagRetriever`.

    Over a store the index of words follows by itself: every search first brings in what was written since the last,
    also by others. Over backends, which do not tell what was written, it knows what goes through `upsert` and `delete`
    of this object.

    Args:
        source: documents and embeddings.
        words: index of the words, for example a `WordIndex` of a file or with a tokenizer of your own; None for one in
            memory.
    """

    def __init__(self, source: LocalEmbeddingStore | RagRetriever, words: WordIndex | None = None) -> None:
        self._source = source
        self._words = WordIndex() if words is None else words
        self._following = threading.Lock()
        self.refresh()

    def refresh(self) -> bool:
        """Index the words of what was written to the store since the last time; return whether there was anything.

        Raises:
            StoreClosedError: the store was closed.
        """
        if isinstance(self._source, RagRetriever):
            return False
        with self._following:
            self._source.refresh()
            last = self._words.mark()
            if last == self._source.mark:
                return False
            with logged_operation(logger, "index_words"):
                changes = self._source.changes_since(last)
                gone = set(self._words.ids()) if changes.is_complete else set(changes.deleted)
                while batch := list(islice(changes.documents, _INDEXED_AT_ONCE)):
                    gone.difference_update(document.id for document in batch)
                    self._words.change({document.id: document.content for document in batch})
                self._words.change({}, gone, mark=changes.mark)
            return True

    def upsert(self, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None = None) -> None:
        """Write documents to the source and index their words, in this order: after a failure, repeat the call.

        Args:
            documents: documents to write, each id once.
            vectors: embeddings as for the source.

        Raises:
            StoreError: as the source raises it.
        """
        documents = list(documents)
        document_records(documents)
        self._source.upsert(documents, vectors)
        if not self.refresh():
            self._words.change({document.id: document.content for document in documents})

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents from the source and forget their words.

        Args:
            ids: ids of documents; over a store, all of them have to be there.

        Raises:
            StoreError: as the source raises it.
        """
        unwanted = checked_ids(ids)
        self._source.delete(unwanted)
        if not self.refresh():
            self._words.change({}, unwanted)

    def search(
        self, query: str, *, top_k: int = 5, where: Where | None = None, candidates: int = 100
    ) -> list[HybridHit]:
        """Find documents by words and by meaning.

        With `where` documents that share a word with the query are looked at, best first, until there are enough
        candidates; each document that the filter refuses costs a read from the source.

        Args:
            query: text that is not blank.
            top_k: most hits to return.
            where: filter on metadata; see `sightline.retrieval.store.filters`.
            candidates: number of documents that each side proposes, at least `top_k`.

        Returns:
            Hits, best first; of equal scores those with the better place by cosine first.

        Raises:
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: the query is blank or too long, or a number is out of range.
            StoreError: as the source raises it.
        """
        return self.search_batch([query], top_k=top_k, where=where, candidates=candidates)[0]

    def search_batch(
        self, queries: Sequence[str], *, top_k: int = 5, where: Where | None = None, candidates: int = 100
    ) -> list[list[HybridHit]]:
        """Search for several queries; over a store their embeddings are compared by one matrix product.

        Args:
            queries: texts that are not blank.
            top_k: most hits to return per query.
            where: filter on metadata.
            candidates: number of documents that each side proposes per query, at least `top_k`.

        Raises:
            InvalidQueryError: as for `search`, as are the others.
        """
        for query in queries:
            if not isinstance(query, str) or not query.strip() or len(query) > MAX_CONTENT_CHARACTERS:
                raise InvalidQueryError(
                    f"query must be a text of 1 to {MAX_CONTENT_CHARACTERS:,} characters that is not blank, not "
                    f"{str(query)[:40]!r}"
                )
        top_k, _ = checked_search(top_k, None)
        candidates, _ = checked_search(candidates, None)
        if candidates < top_k:
            raise InvalidQueryError(f"candidates must be at least top_k ({top_k}), not {candidates}")
        chosen = None if where is None else parse_filter(where)
        with logged_operation(logger, "hybrid_search", queries=len(queries), top_k=top_k, filtered=where is not None):
            self.refresh()
            dense = self._dense(queries, where, candidates)
            return [
                self._fused(near, self._lexical(query, chosen, candidates), top_k)
                for query, near in zip(queries, dense, strict=True)
            ]

    # What the methods above do, awaited.
    arefresh = Awaited(refresh)
    aupsert = Awaited(upsert)
    adelete = Awaited(delete)
    asearch = Awaited(search)
    asearch_batch = Awaited(search_batch)

    def _dense(self, queries: Sequence[str], where: Where | None, candidates: int) -> list[list[Document]]:
        if isinstance(self._source, RagRetriever):
            answers = [one.hits for one in self._source.search_batch(queries, top_k=candidates, where=where)]
        else:
            answers = self._source.search_batch(queries, top_k=candidates, where=where)
        return [[hit.document for hit in hits] for hits in answers]

    def _lexical(self, query: str, chosen: MetadataFilter | None, candidates: int) -> list[str]:
        """Return ids of documents that share a word with the query and pass a filter, best first."""
        if chosen is None:
            return [found for found, _ in self._words.search(query, candidates)]
        limit, seen, kept = _FIRST_FETCH * candidates, 0, []
        while True:
            ranked = [found for found, _ in self._words.search(query, limit)]
            present = self._present(ranked[seen:])
            kept += [one for one in ranked[seen:] if one in present and holds(chosen, present[one].metadata)]
            if len(kept) >= candidates or len(ranked) < limit:
                return kept[:candidates]
            seen, limit = len(ranked), limit * _GROWTH

    def _fused(self, dense: Sequence[Document], lexical: Sequence[str], top_k: int) -> list[HybridHit]:
        dense_ranks = {document.id: rank for rank, document in enumerate(dense, start=1)}
        lexical_ranks = {found: rank for rank, found in enumerate(lexical, start=1)}
        documents = {document.id: document for document in dense}
        fused = reciprocal_rank_fusion([list(dense_ranks), list(lexical_ranks)])
        hits: list[HybridHit] = []
        # Documents deleted meanwhile are left out, so there may have to be a second look.
        while fused and len(hits) < top_k:
            part, fused = fused[: top_k - len(hits)], fused[top_k - len(hits) :]
            documents.update(self._present([found for found, _ in part if found not in documents]))
            hits += [
                HybridHit(documents[found], score, dense_ranks.get(found), lexical_ranks.get(found))
                for found, score in part
                if found in documents
            ]
        return hits

    def _present(self, ids: Sequence[str]) -> Mapping[str, Document]:
        if not isinstance(self._source, RagRetriever):
            return self._source.get_many(ids)
        found = {}
        for document_id in ids:
            try:
                found[document_id] = self._source.get(document_id)
            except UnknownDocumentError:
                continue
        return found
