"""What a model keeps of what the base could do; the tasks are chosen with some seeds and scored with others.

Scored with the seeds that chose them, the base would look better than it is and every model would seem to forget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from sightline.teachability.evaluation.records import EpisodeRow, RetentionRow
from sightline.teachability.evaluation.suite import task_means
from sightline.teachability.statistics import cluster_mean


def choose_retention(rows: Sequence[EpisodeRow], *, base: str, seeds: Collection[int], least: float = 0.6) -> list[int]:
    """Return the tasks that the base does in at least this share of episodes with these seeds.

    Args:
        rows: episodes from first states.
        base: the model before training.
        seeds: noise that chooses; it must not be scored.
        least: share of successes.
    """
    found: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if row.model == base and row.seed in seeds and row.outcome != "error":
            found[row.task].append(row.success)
    return sorted(task for task, wins in found.items() if sum(wins) >= least * len(wins))


def summarise_retention(
    rows: Sequence[EpisodeRow], tasks: Collection[int], *, base: str, chosen_by: Collection[int], seed: int = 0
) -> list[RetentionRow]:
    """Return a row per model on the retention tasks.

    Args:
        rows: episodes of all models, the base among them, with dataset `retention`.
        tasks: tasks from `choose_retention`.
        base: the model before training.
        chosen_by: the seeds that chose the tasks.
        seed: seed of the bootstrap.

    Raises:
        ValueError: an episode was played with a seed that chose.
    """
    models: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        if row.dataset == "retention" and row.task in tasks:
            if row.seed in chosen_by:
                raise ValueError(f"seed {row.seed} chose the retention tasks and cannot score them too")
            models.setdefault(row.model, []).append(row)
    before = task_means(models.get(base, ()))
    summaries = []
    for name, of_model in models.items():
        after = task_means(of_model)
        shared = [key for key in before if key in after]
        if not shared:
            continue
        drops = [before[key] - after[key] for key in shared]
        interval = cluster_mean(drops, [group for _, group in shared], seed=seed)
        summaries.append(
            RetentionRow(
                model=name,
                n=len(shared),
                retention_success_rate=sum(after[key] for key in shared) / len(shared),
                base_retention_success_rate=sum(before[key] for key in shared) / len(shared),
                retention_drop=interval.value,
                drop_low=interval.low,
                drop_high=interval.high,
            )
        )
    return summaries
