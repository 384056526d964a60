"""How well a store answers the queries of a collection in the form of BEIR: by meaning, by words, and by both.

    uv run apps/beir.py FOLDER [--split test] [--k 10] [--encoder minilm|hashing] [--output runs/beir]

The folder has `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`. Values per query go to `scores.json`. The means
that are printed have 95 % intervals of a bootstrap over queries; differences to the words alone are paired by query.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from lab.settings import introduce
from sightline.agents.evaluation import bootstrap_interval
from sightline.retrieval import HashingEncoder, HybridSearch, LocalEmbeddingStore, SentenceTransformerEncoder
from sightline.retrieval.beir import QueryScores, read_beir, score_rankings
from sightline.retrieval.files import atomic_file
from sightline.retrieval.ranking import WordIndex

METRICS = ("ndcg", "recall", "reciprocal_rank")


@dataclass(frozen=True)
class Settings:
    """Which collection is searched, with what, and how it is judged."""

    folder: tyro.conf.Positional[Path]
    """Folder of the collection."""
    split: str = "test"
    """Name of the file of judgements."""
    k: int = 10
    """Documents per query that count."""
    encoder: Literal["minilm", "hashing"] = "minilm"
    """Encoder of the store."""
    output: Path = Path("runs/beir")
    """Folder of the store, the index of words and the scores; a second run goes on with them."""
    seed: int = 0
    """Seed of the bootstrap."""


def main(settings: Settings) -> None:
    """Index the collection, answer its queries in three ways, and print means with intervals."""
    collection = read_beir(settings.folder, settings.split)
    encoder = SentenceTransformerEncoder() if settings.encoder == "minilm" else HashingEncoder()
    settings.output.mkdir(parents=True, exist_ok=True)
    with LocalEmbeddingStore(encoder, settings.output / f"store-{settings.encoder}") as store:
        batch = []
        for document in collection.documents():
            if document.id not in store:
                batch.append(document)
            if len(batch) == 1000:
                store.add(batch)
                batch = []
        store.add(batch)
        words = WordIndex(settings.output / f"words-{settings.encoder}.sqlite")
        hybrid = HybridSearch(store, words)
        queries, texts = list(collection.queries), list(collection.queries.values())
        methods: dict[str, Callable[[], Sequence[Sequence[str]]]] = {
            "words": lambda: [[found for found, _ in words.search(text, settings.k)] for text in texts],
            "meaning": lambda: [
                [hit.document.id for hit in hits] for hits in store.search_batch(texts, top_k=settings.k)
            ],
            "both": lambda: [
                [hit.document.id for hit in hits]
                for hits in hybrid.search_batch(texts, top_k=settings.k, candidates=max(100, settings.k))
            ],
        }
        scores = {
            name: score_rankings(dict(zip(queries, rank(), strict=True)), collection.relevance, settings.k)
            for name, rank in methods.items()
        }
        words.close()
    with atomic_file(settings.output / "scores.json") as file:
        file.write(json.dumps({name: _values(one) for name, one in scores.items()}, indent=1).encode())
    print(f"{len(queries)} queries, k = {settings.k}, encoder {encoder.name}; means [95 % intervals over queries]")
    for name, one in scores.items():
        print(f"{name:8}", *(_shown(getattr(one, metric), metric, settings.seed) for metric in METRICS), sep="  ")
        if name != "words":
            paired = [getattr(one, metric) - getattr(scores["words"], metric) for metric in METRICS]
            shown = [_shown(part, metric, settings.seed) for part, metric in zip(paired, METRICS, strict=True)]
            print(" - words", *shown, sep="  ")


def _shown(values: np.ndarray, metric: str, seed: int) -> str:
    interval = bootstrap_interval(values, np.random.default_rng(seed), unit="queries")
    return f"{metric} {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _values(scores: QueryScores) -> dict[str, object]:
    return {"query_ids": scores.query_ids, **{metric: getattr(scores, metric).tolist() for metric in METRICS}}


if __name__ == "__main__":
    introduce(__doc__, sys.argv[1:])
    main(tyro.cli(Settings))
