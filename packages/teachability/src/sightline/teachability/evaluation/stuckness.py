"""Going in circles, from actions and pages alone: where only endings are rewarded, rewards say nothing of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from sightline.teachability.evaluation.records import Dataset, EpisodeRow, StucknessRow

_TIMES = 3


def repeat_rate(actions: Sequence[str]) -> float:
    """Return the share of actions that had been taken before; 0 without actions."""
    return 1 - len(set(actions)) / len(actions) if actions else 0.0


def has_loop(actions: Sequence[str]) -> bool:
    """Return whether some pair of successive actions occurs three times."""
    counts = Counter(pairwise(actions))
    return max(counts.values(), default=0) >= _TIMES


def has_state_loop(observations: Sequence[str]) -> bool:
    """Return whether the same page is seen three times in a row."""
    return any(len(list(run)) >= _TIMES for _, run in groupby(observations))


def summarise_stuckness(rows: Sequence[EpisodeRow]) -> list[StucknessRow]:
    """Return a row per model and dataset, in the order in which they occur; error rows are left out."""
    cells: dict[tuple[str, Dataset], list[EpisodeRow]] = {}
    for row in rows:
        if row.outcome != "error":
            cells.setdefault((row.model, row.dataset), []).append(row)
    return [
        StucknessRow(
            model=model,
            dataset=dataset,
            n=len(cell),
            mean_repeat_rate=_mean([row.repeat_rate for row in cell]),
            mean_loop_rate=_mean([row.loop for row in cell]),
            mean_state_loop_rate=_mean([row.state_loop for row in cell]),
            mean_steps=_mean([row.steps for row in cell]),
        )
        for (model, dataset), cell in cells.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
