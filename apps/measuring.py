"""What an experiment measures: recall of the expert's chunk, success of the agents, ablations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from settings import Phase2Settings
from shopping import World, expert

from sightline.agents import ReadingAgent, Trajectory, read_trajectories, roll_out, write_trajectories
from sightline.agents.evaluation import Interval, bootstrap_interval, paired_difference
from sightline.agents.reading import ChunkScorer, instruction_similarity, random_scores, score_pages
from sightline.agents.runs import RunDirectory
from sightline.retrieval import CachedEncoder, ndcg_at_k, recall_at_k, reciprocal_rank
from sightline.retrieval.conditioned import RetrievalExample

CUTOFFS = (1, 2, 3, 4, 5, 6, 8, 10)
"""The k of recall@k."""


@dataclass(frozen=True)
class RetrievalScores:
    """How well one method ranks the expert's chunk, per goal and training seed.

    Attributes:
        recall: k -> `[goals, seeds]` mean over the goal's pages.
        reciprocal_rank: `[goals, seeds]`.
        ndcg: `[goals, seeds]` at k = 5.
    """

    recall: Mapping[int, np.ndarray]
    reciprocal_rank: np.ndarray
    ndcg: np.ndarray


def retrieval_scores(
    run: RunDirectory,
    name: str,
    scorers: Sequence[ChunkScorer],
    pages: Sequence[RetrievalExample],
    encoder: CachedEncoder,
) -> RetrievalScores:
    """Rank the chunks of held-out expert pages by one method, once per training seed."""

    def compute(folder: Path) -> None:
        rows = []
        for scorer in scorers:
            scores, positives = score_pages(scorer, pages)
            recalls = {str(k): recall_at_k(scores, positives, k).tolist() for k in CUTOFFS}
            ranks = reciprocal_rank(scores, positives).tolist()
            rows.append({"recall": recalls, "reciprocal_rank": ranks, "ndcg": ndcg_at_k(scores, positives, 5).tolist()})
        (folder / "pages.json").write_text(json.dumps(rows), encoding="utf-8")
        encoder.save()

    rows = json.loads((run.stage(f"6-retrieval-{name}", compute) / "pages.json").read_text(encoding="utf-8"))
    episodes = [page.episode_id for page in pages]
    return RetrievalScores(
        recall={k: _by_episode([row["recall"][str(k)] for row in rows], episodes) for k in CUTOFFS},
        reciprocal_rank=_by_episode([row["reciprocal_rank"] for row in rows], episodes),
        ndcg=_by_episode([row["ndcg"] for row in rows], episodes),
    )


def _by_episode(values: Sequence[Sequence[float]], episodes: Sequence[str]) -> np.ndarray:
    """`[seeds][pages]` to means `[episodes, seeds]`: the pages of an episode are no independent samples."""
    _, index = np.unique(np.array(episodes), return_inverse=True)
    table = np.array(values, dtype=np.float64)
    return np.stack([np.bincount(index, weights=row) / np.bincount(index) for row in table], axis=1)


def interval(values: np.ndarray, seed: int) -> Interval:
    """Return the mean of `[goals, seeds]` with its 95 % bootstrap interval over goals and training seeds."""
    return bootstrap_interval(values, np.random.default_rng(seed))


def difference(candidate: np.ndarray, baseline: np.ndarray, seed: int) -> Interval:
    """Return the paired difference with its 95 % bootstrap interval over goals and training seeds."""
    return paired_difference(candidate, baseline, np.random.default_rng(seed))


def scorers_by_method(
    zero_shot: Sequence[ChunkScorer], trained: Sequence[ChunkScorer], encoder: CachedEncoder, seed: int
) -> dict[str, list[ChunkScorer]]:
    """The methods that are compared on held-out pages."""
    return {
        "random": [random_scores(seed)],
        "query_rag": [instruction_similarity(encoder)],
        "state_gated_zero_shot": list(zero_shot),
        "state_gated_trained": list(trained),
    }


def evaluate(
    settings: Phase2Settings,
    run: RunDirectory,
    stage: str,
    world: World,
    split: str,
    agent: ReadingAgent,
    encoder: CachedEncoder,
) -> list[Trajectory]:
    """Let an agent attempt every goal of a split; a stopped run goes on after the last complete batch of episodes."""
    journal = run.path / "journals" / f"{stage}.jsonl"

    def compute(folder: Path) -> None:
        episodes = roll_out(
            world.environments(),
            agent,
            world.splits[split],
            seed=settings.seed,
            max_steps=settings.step_limit,
            expert=expert,
            journal=journal,
        )
        write_trajectories(folder / "episodes.jsonl", episodes)
        journal.unlink()
        encoder.save()

    return list(read_trajectories(run.stage(stage, compute) / "episodes.jsonl"))
