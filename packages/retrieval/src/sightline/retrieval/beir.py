"""Collections in the form of BEIR, and how well a ranking answers their queries: one value per query.

A folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` (Thakur et al., "BEIR: a heterogeneous benchmark
for zero-shot evaluation of information retrieval models", 2021). Intervals and comparisons are for whoever reads the
values. This module knows no store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sightline.retrieval.jsonl import RecordError, read_jsonl
from sightline.retrieval.store.document import Document


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)

    id: str = Field(alias="_id", min_length=1)
    """Its id."""
    title: str = ""
    """Its title, if it has one."""
    text: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class BeirCollection:
    """Queries with their judgements, beside a corpus on the disk."""

    corpus: Path
    """File of the documents."""
    queries: Mapping[str, str]
    """Texts of those queries for which some document is relevant."""
    relevance: Mapping[str, Mapping[str, int]]
    """For each query the documents judged, with how relevant they are; 0 for not at all."""

    def documents(self) -> Iterator[Document]:
        """Yield the documents; the title, which is also in the metadata, is the first line of the content."""
        for record in read_jsonl(self.corpus, _Text):
            content = f"{record.title}\n{record.text}".strip() or " "
            yield Document(id=record.id, content=content, metadata={"title": record.title} if record.title else {})


@dataclass(frozen=True, slots=True, eq=False)
class QueryScores:
    """How well each query was answered, in the order of `query_ids`."""

    query_ids: tuple[str, ...]
    ndcg: NDArray[np.float64]
    """`[Q]`, normalised discounted cumulative gain of the first k, with linear gains as trec_eval has them."""
    recall: NDArray[np.float64]
    """`[Q]`, share of the relevant documents that are among the first k."""
    reciprocal_rank: NDArray[np.float64]
    """`[Q]`, 1 / rank of the first relevant document among the first k; 0 without one."""


def read_beir(folder: str | Path, split: str = "test") -> BeirCollection:
    """Read queries and judgements of a collection.

    Args:
        folder: folder of the collection.
        split: name of the file of judgements, without its ending.

    Raises:
        FileNotFoundError: a file is missing.
        RecordError: a line is not what it should be; the message names it.
    """
    folder = Path(folder)
    relevance: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{split}.tsv"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t")
        if number == 1 and fields[-1] == "score":
            continue
        try:
            query, document, score = fields
            relevance.setdefault(query, {})[document] = int(score)
        except ValueError:
            raise RecordError(
                f"{path}, line {number}: expected query, document and whole score, not {line!r}"
            ) from None
    texts = {record.id: record.text for record in read_jsonl(folder / "queries.jsonl", _Text)}
    judged = [query for query, scores in relevance.items() if any(score > 0 for score in scores.values())]
    if unknown := [query for query in judged if query not in texts]:
        raise RecordError(f"{path} judges query {unknown[0]!r}, which {folder / 'queries.jsonl'} does not have")
    corpus = folder / "corpus.jsonl"
    if not corpus.is_file():
        raise FileNotFoundError(f"{corpus} is missing")
    return BeirCollection(
        corpus, {query: texts[query] for query in judged}, {query: relevance[query] for query in judged}
    )


def score_rankings(
    rankings: Mapping[str, Sequence[str]], relevance: Mapping[str, Mapping[str, int]], k: int = 10
) -> QueryScores:
    """Score rankings by judgements; a query without a ranking has found nothing.

    Args:
        rankings: ids of documents, best first, by query.
        relevance: judgements by query, each with at least one relevant document.
        k: number of documents that count.

    Raises:
        ValueError: `k` is below 1, a ranking has a document twice, or a query has no relevant document.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k!r}")
    rows = [_scores(query, rankings.get(query, ())[:k], judged, k) for query, judged in relevance.items()]
    columns: Any = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return QueryScores(tuple(relevance), *columns)


def _scores(query: str, ranking: Sequence[str], judged: Mapping[str, int], k: int) -> tuple[float, float, float]:
    gains = sorted((score for score in judged.values() if score > 0), reverse=True)
    if not gains or len(set(ranking)) < len(ranking):
        raise ValueError(f"query {query!r} has no relevant document, or its ranking has one twice")
    found = np.array([max(judged.get(document, 0), 0) for document in ranking], dtype=np.float64)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    best = float(np.array(gains[:k]) @ discount[: len(gains[:k])])
    hits = np.flatnonzero(found)
    return (
        float(found @ discount[: len(found)]) / best,
        len(hits) / len(gains),
        1.0 / (1.0 + float(hits[0])) if len(hits) else 0.0,
    )
