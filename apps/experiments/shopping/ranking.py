"""How methods rank the expert's chunk on held-out pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.shopping.stages import Stage
from lab.run import RunDirectory, write_text
from sightline.agents.reading import ChunkScorer, instruction_similarity, random_scores, score_pages
from sightline.retrieval import CachedEncoder, ndcg_at_k, recall_at_k, reciprocal_rank
from sightline.retrieval.conditioned import RetrievalExample

CUTOFFS = (1, 2, 3, 4, 5, 6, 8, 10)
"""The k of recall@k."""


@dataclass(frozen=True)
class RetrievalScores:
    """How well one method ranks the expert's chunk, per goal and training seed."""

    recall: Mapping[int, np.ndarray]
    """K -> `[goals, seeds]` mean over the goal's pages."""
    reciprocal_rank: np.ndarray
    """`[goals, seeds]`."""
    ndcg: np.ndarray
    """`[goals, seeds]` at k = 5."""


def rank_pages_stages(
    run: RunDirectory,
    zero_shot: Sequence[ChunkScorer],
    trained: Sequence[ChunkScorer],
    pages: Sequence[RetrievalExample],
    encoder: CachedEncoder,
    seed: int,
) -> dict[str, RetrievalScores]:
    """Rank the chunks of held-out expert pages by every method, a stage for each.

    Args:
        run: run that the stages belong to.
        zero_shot: untrained gates' scorers, one per training seed.
        trained: trained gates' scorers, one per training seed.
        pages: held-out pages with the expert's chunk.
        encoder: encoder whose new embeddings are saved.
        seed: seed of the random method.
    """
    methods: dict[str, Sequence[ChunkScorer]] = {
        "random": [random_scores(seed)],
        "query_rag": [instruction_similarity(encoder)],
        "state_gated_zero_shot": zero_shot,
        "state_gated_trained": trained,
    }
    return {name: _rank_pages_stage(run, name, scorers, pages, encoder) for name, scorers in methods.items()}


def _rank_pages_stage(
    run: RunDirectory,
    name: str,
    scorers: Sequence[ChunkScorer],
    pages: Sequence[RetrievalExample],
    encoder: CachedEncoder,
) -> RetrievalScores:
    def compute(folder: Path) -> None:
        rows = []
        for scorer in scorers:
            scores, positives = score_pages(scorer, pages)
            recalls = {str(k): recall_at_k(scores, positives, k).tolist() for k in CUTOFFS}
            ranks = reciprocal_rank(scores, positives).tolist()
            rows.append({"recall": recalls, "reciprocal_rank": ranks, "ndcg": ndcg_at_k(scores, positives, 5).tolist()})
        write_text(folder / "pages.json", json.dumps(rows))
        encoder.save()

    rows = json.loads((run.stage(Stage.RETRIEVAL, compute, name) / "pages.json").read_text(encoding="utf-8"))
    episodes = [page.episode_id for page in pages]
    return RetrievalScores(
        recall={k: _by_episode([row["recall"][str(k)] for row in rows], episodes) for k in CUTOFFS},
        reciprocal_rank=_by_episode([row["reciprocal_rank"] for row in rows], episodes),
        ndcg=_by_episode([row["ndcg"] for row in rows], episodes),
    )


def _by_episode(values: Sequence[Sequence[float]], episodes: Sequence[str]) -> np.ndarray:
    """Return means `[episodes, seeds]` of `[seeds][pages]`: the pages of an episode are no independent samples."""
    _, index = np.unique(np.array(episodes), return_inverse=True)
    table = np.array(values, dtype=np.float64)
    return np.stack([np.bincount(index, weights=row) / np.bincount(index) for row in table], axis=1)
