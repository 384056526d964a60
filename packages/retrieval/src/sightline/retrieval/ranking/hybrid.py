"""Search by words and by meaning at once: BM25 and embeddings over one local store, joined by reciprocal-rank fusion.

BM25 is Lucene's variant (Kamphuis et al. 2020) with k1 = 1.5 and b = 0.75, over lower-case words reduced to their
Snowball stems. This module does not know how embeddings are made.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import numpy as np

from sightline.retrieval.backends.filter_translation import holds
from sightline.retrieval.errors import InvalidQueryError, UnknownDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.ranking.fusion import reciprocal_rank_fusion
from sightline.retrieval.store.document import MAX_CONTENT_CHARACTERS, Document
from sightline.retrieval.store.filters import MetadataFilter, Where, parse_filter
from sightline.retrieval.store.parameters import checked_search
from sightline.retrieval.store.store import LocalEmbeddingStore

try:
    import bm25s
    import Stemmer  # ty: ignore[import-not-found] (a compiled module without type information)
except ImportError as problem:
    raise ImportError(
        f"{problem.name} is not installed, and hybrid search needs it; "
        "install it with: pip install 'sightline-retrieval[hybrid]'"
    ) from problem

logger = logging.getLogger(__name__)


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
    """BM25 beside the embeddings of a `LocalEmbeddingStore`.

    The words are indexed in memory when this is made and when `refresh` is called. Until then documents written later
    are found by meaning only, changed ones by their old words too (and given in their present form), and deleted ones
    not at all.

    Args:
        store: store of the documents and embeddings.
        language: language of the stemmer: "english", "german" or another of PyStemmer's.

    Raises:
        ImportError: (on import) the extra `hybrid` is not installed.
        ValueError: there is no stemmer for the language.
    """

    def __init__(self, store: LocalEmbeddingStore, *, language: str = "english") -> None:
        if language not in Stemmer.algorithms():
            raise ValueError(f"there is no stemmer for {language!r}; there are {', '.join(Stemmer.algorithms())}")
        self._store = store
        self._language = language
        self._words = self._indexed()

    def refresh(self) -> None:
        """Index the words of the documents that are in the store now; searches go on with the old ones meanwhile."""
        self._words = self._indexed()

    def search(
        self, query: str, *, top_k: int = 5, where: Where | None = None, candidates: int = 100
    ) -> list[HybridHit]:
        """Find documents by words and by meaning.

        With `where` documents that share a word with the query are looked at one by one, best first, until there are
        enough candidates; each document that the filter refuses costs a read from the store.

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
            StoreClosedError: the store was closed.
        """
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
        with logged_operation(logger, "hybrid_search", top_k=top_k, filtered=where is not None):
            dense = [hit.document for hit in self._store.search(query, top_k=candidates, where=where)]
            lexical = self._lexical(query, chosen, candidates)
        dense_ranks = {document.id: rank for rank, document in enumerate(dense, start=1)}
        lexical_ranks = {document.id: rank for rank, document in enumerate(lexical, start=1)}
        documents = {document.id: document for document in (*lexical, *dense)}
        fused = reciprocal_rank_fusion([list(dense_ranks), list(lexical_ranks)])
        return [
            HybridHit(documents[found], score, dense_ranks.get(found), lexical_ranks.get(found))
            for found, score in fused[:top_k]
        ]

    def _lexical(self, query: str, chosen: MetadataFilter | None, candidates: int) -> list[Document]:
        """Return documents that share a word with the query, best first, ids in order where BM25 is equal."""
        ids, index = self._words
        words = self._stems([query])[0]
        if index is None or not words:
            return []
        scores = index.get_scores(words)
        places = np.flatnonzero(scores > 0)
        found: list[Document] = []
        for place in places[np.argsort(-scores[places], kind="stable")].tolist():
            try:
                document = self._store.get(ids[place])
            except UnknownDocumentError:
                continue
            if chosen is None or holds(chosen, document.metadata):
                found.append(document)
                if len(found) == candidates:
                    break
        return found

    def _indexed(self) -> tuple[list[str], bm25s.BM25 | None]:
        ids, texts = [], []
        with logged_operation(logger, "index_words"):
            for document in self._store.documents():
                ids.append(document.id)
                texts.append(document.content)
            stems = self._stems(texts)
            if not any(stems):
                return ids, None
            index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
            index.index(stems, show_progress=False)
            return ids, index

    def _stems(self, texts: list[str]) -> list[list[str]]:
        stemmer = Stemmer.Stemmer(self._language)  # one of its own: a stemmer is not safe to share between threads
        return [stemmer.stemWords(re.findall(r"\w+", text.casefold())) for text in texts]
