"""How methods rank the expert's chunk on held-out pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.shopping.stages import Stage
from lab.run import RunDirectory, write_text
from sightline.agents import Table
from sightline.agents.evaluation import rate_interval, show_interval
from sightline.agents.grammar import ShopAction, webshop_grammar
from sightline.agents.reading import ChunkScorer, instruction_similarity, random_scores, score_pages
from sightline.retrieval import CachedEncoder, ndcg_at_k, recall_at_k, reciprocal_rank
from sightline.retrieval.conditioned import RetrievalExample

CUTOFFS = (1, 2, 3, 4, 5, 6, 8, 10)
"""The k of recall@k."""
_SHOWN = 5
_TARGETS: Mapping[str, str] = {ShopAction.CLICK_PRODUCT: "a product", ShopAction.CLICK_OPTION: "an option"}
"""Kind of action -> what it clicks; everything else is a button."""


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
    steered: Sequence[ChunkScorer],
    pages: Sequence[RetrievalExample],
    encoder: CachedEncoder,
    seed: int,
) -> dict[str, RetrievalScores]:
    """Rank the chunks of held-out expert pages by every method, a stage for each.

    Args:
        run: run that the stages belong to.
        zero_shot: untrained gates' scorers, one per training seed.
        trained: trained gates' scorers, one per training seed.
        steered: steered gates' scorers, one per training seed.
        pages: held-out pages with the expert's chunk.
        encoder: encoder whose new embeddings are saved.
        seed: seed of the random method.
    """
    methods: dict[str, Sequence[ChunkScorer]] = {
        "random": [random_scores(seed)],
        "query_rag": [instruction_similarity(encoder)],
        "state_gated_zero_shot": zero_shot,
        "state_gated_trained": trained,
        "state_gated_steered": steered,
    }
    return {name: _rank_pages_stage(run, name, scorers, pages, encoder) for name, scorers in methods.items()}


def recall_by_target_stage(
    run: RunDirectory,
    methods: Mapping[str, Sequence[ChunkScorer]],
    pages: Sequence[RetrievalExample],
    encoder: CachedEncoder,
    seed: int,
) -> Table:
    """Return a table of recall@5 on expert pages by what was to be clicked there, so with and without buttons.

    Args:
        run: run that the stage belongs to.
        methods: name -> scorers, one per training seed.
        pages: held-out pages with the expert's chunk, those included on which it is a button such as Buy Now.
        encoder: encoder whose new embeddings are saved.
        seed: seed of the bootstrap.
    """

    def compute(folder: Path) -> None:
        hits = {}
        for name, scorers in methods.items():
            scored = [score_pages(scorer, pages) for scorer in scorers]
            hits[name] = [recall_at_k(scores, positives, _SHOWN).tolist() for scores, positives in scored]
        write_text(folder / "hits.json", json.dumps(hits))
        encoder.save()

    hits = json.loads((run.stage(Stage.RETRIEVAL, compute, "by target") / "hits.json").read_text(encoding="utf-8"))
    kinds = np.array([_TARGETS.get(webshop_grammar.action_type(page.action), "a button") for page in pages])
    chosen = {
        **{f"{kind} ({int((kinds == kind).sum()):,})": kinds == kind for kind in (*_TARGETS.values(), "a button")},
        "all but buttons": kinds != "a button",
        "all": kinds != "",
    }

    def cell(rows: NDArray[np.float64], places: NDArray[np.bool_]) -> str:
        if not places.any():
            return "none"
        names = [page.episode_id for page, there in zip(pages, places, strict=True) if there]
        values = _by_episode([row[places] for row in rows], names)
        return show_interval(rate_interval(values, np.random.default_rng(seed)), ".1f", scale=100)

    return Table(
        columns=("method", *(f"{name}: recall@5 %" for name in chosen)),
        rows=tuple(
            (name, *(cell(np.array(rows, dtype=np.float64), places) for places in chosen.values()))
            for name, rows in hits.items()
        ),
        caption="On held-out expert pages, by what the expert clicks there, with 95 % intervals; the number of pages. "
        "Buttons such as Buy Now can be clicked unread, and gates are not trained to show them unless asked to.",
    )


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
