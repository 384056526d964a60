"""What is asked of an embedding store with a query: the documents that are nearest to it.

This module knows how texts become queries and hits, not how rows are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.awaiting import Awaited
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.changes import matching_rows
from sightline.retrieval.store.contents import StoreContents
from sightline.retrieval.store.document import (
    MAX_CONTENT_CHARACTERS,
    SearchHit,
)
from sightline.retrieval.store.filters import MetadataFilter, Where, parse_filter
from sightline.retrieval.store.nearest.exact import RankedRows
from sightline.retrieval.store.nearest.search import approximate_rows, exact_rows
from sightline.retrieval.store.nearest.view import View, require_sound
from sightline.retrieval.store.parameters import checked_search
from sightline.retrieval.text.protocol import Vectors
from sightline.retrieval.text.unit_vectors import Query, UnitVectors, query_vectors

logger = logging.getLogger(__name__)


class StoreReader(StoreContents):
    """The half of a store that changes nothing."""

    def search(
        self,
        query: Query,
        *,
        top_k: int = 5,
        min_score: float | None = None,
        where: Where | None = None,
        approximate: bool = False,
        with_vectors: bool = False,
    ) -> list[SearchHit]:
        """Find the documents most similar to a query.

        Args:
            query: text, or a vector `[dimension]` of any length but zero.
            top_k: most hits to return.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata, for example `{"price": {"<=": 20}, "colour": {"in": ["red", "blue"]}}`; the
                best of the documents for which it holds are found, exactly.
            approximate: True to let the index of `build_index` propose the hits, which may miss some; their scores are
                exact. Ignored with `where`, without an index, and below `approximate_from` documents.
            with_vectors: True to return the vectors of the hits as well.

        Returns:
            Hits, best first; equal scores in the order in which the documents were added or upserted.

        Raises:
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: the query is blank, zero, not finite or of another dimension; a number is out of range.
            StoreClosedError: the store was closed.
        """
        return self.search_batch(
            [query],
            top_k=top_k,
            min_score=min_score,
            where=where,
            approximate=approximate,
            with_vectors=with_vectors,
        )[0]

    def search_batch(
        self,
        queries: Sequence[Query] | NDArray[np.floating] | UnitVectors,
        *,
        top_k: int = 5,
        min_score: float | None = None,
        where: Where | None = None,
        approximate: bool = False,
        with_vectors: bool = False,
    ) -> list[list[SearchHit]]:
        """Search for several queries at once, by one matrix product on one state of the store.

        Args:
            queries: texts, vectors or both; or vectors `[q, dimension]`.
            top_k: most hits to return per query.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata; see `search`.
            approximate: True to use the index; see `search`, as for the errors.
            with_vectors: True to return the vectors of the hits as well.

        Returns:
            One list of hits per query; the same as from single searches.

        Raises:
            TypeError: a single string was given.
        """
        if isinstance(queries, str):
            raise TypeError(f"search_batch takes a sequence of queries, not {queries[:80]!r}; use search for one")
        top_k, min_score = checked_search(top_k, min_score)
        chosen = None if where is None else parse_filter(where)
        with logged_operation(logger, "search", queries=len(queries), top_k=top_k, filtered=where is not None):
            vectors = query_vectors(self._encoder, queries, max_characters=MAX_CONTENT_CHARACTERS).rows

            def answer(view: View) -> list[list[SearchHit]]:
                selected = self._selected(view, chosen)
                by_index = approximate and selected is None and view.live_count >= self._approximate_from
                if by_index and view.index is not None:
                    ranked = approximate_rows(view, view.index, vectors, top_k=top_k, min_score=min_score)
                else:
                    ranked = exact_rows(view, vectors, top_k=top_k, min_score=min_score, selected=selected)
                return self._hits(view, ranked, with_vectors=with_vectors)

            return self._on_valid_view(answer)

    def _selected(self, view: View, chosen: MetadataFilter | None) -> NDArray[np.bool_] | None:
        """Return rows `[n]` for which a filter holds."""
        if chosen is None:
            return None
        with self._storage.reading(view) as transaction:
            return matching_rows(transaction, view, chosen)

    def _hits(self, view: View, ranked: Sequence[RankedRows], *, with_vectors: bool) -> list[list[SearchHit]]:
        wanted = {row for ranking in ranked for row in ranking.rows.tolist()}
        with self._storage.reading(view) as transaction:
            found = transaction.documents(wanted)
        require_sound(view, {row: checksum for row, (_, checksum) in found.items()})
        vectors = {row: _copied(view.vectors[row]) for row in found} if with_vectors else {}
        return [
            [
                SearchHit(found[row][0], score, vectors.get(row))
                for row, score in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
            ]
            for ranking in ranked
        ]

    # What the methods above do, awaited.
    asearch = Awaited(search)
    asearch_batch = Awaited(search_batch)


def _copied(vector: Vectors) -> Vectors:
    """Return a copy that stays what it is when the store is closed or compacted; read-only."""
    copy = np.array(vector)
    copy.flags.writeable = False
    return copy
