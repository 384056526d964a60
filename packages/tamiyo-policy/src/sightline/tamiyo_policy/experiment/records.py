"""Which episodes of growth there are, and what is written of one that was played; importable without torch.

An episode is a host family and a seed, which fixes host, order of samples and birth of modules whatever is done in it.
Training, the choice of baselines and evaluation draw their seeds from ranges that do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

TRAINING_SEEDS: Final = 2**31
"""Training draws seeds below this."""

EVALUATION_SEED: Final = 7 * 2**29
"""First seed of evaluation episodes."""

SELECTION_SEED: Final = 2**32
"""First seed of the episodes on which baselines are chosen."""


@dataclass(frozen=True)
class Episode:
    """What is given before anything is decided; equal ones are comparable whatever acts in them."""

    family: str
    """The host's family."""
    seed: int
    """Seed of host, order of samples and birth of modules."""


def episodes_from(first_seed: int, count: int, families: Sequence[str]) -> tuple[Episode, ...]:
    """Return `count` episodes with consecutive seeds, the families taking turns.

    Args:
        first_seed: `EVALUATION_SEED`, `SELECTION_SEED`, or one beyond.
        count: number of episodes.
        families: names, at least one.
    """
    return tuple(Episode(families[index % len(families)], first_seed + index) for index in range(count))


class GrowthRecord(BaseModel):
    """What became of one episode. `Score` is J: accuracy minus rent, in points."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    family: str
    """The host's family."""
    seed: int
    """The episode's seed."""
    score: float
    """J on the validation part, of the mean of the last accuracies."""
    accuracy: float
    """Percent of the validation part, mean of the last measurements."""
    parameters: float
    """Number of parameters of the modules at the end, weighted by alpha."""
    test_score: float | None = None
    """J on the test part at the end; None where it was not read."""
    test_accuracy: float | None = None
    """Percent of the test part, likewise."""
    total_reward: float | None = None
    """Undiscounted return; None for a fixed topology."""
    rollbacks: int = 0
    """Number of times the governor went back."""
    operations: dict[str, int] = {}
    """Steps in which an operation was executed, by its name."""
    topology: tuple[int, ...]
    """K blueprint ids at the end, 0 where there is none."""
    stages: tuple[str, ...] = ()
    """Text for each slot, one hexadecimal digit per step: its `Stage` after it."""
