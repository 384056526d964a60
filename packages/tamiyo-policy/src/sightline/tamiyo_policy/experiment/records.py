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
    """What is given before anything is decided; equal ones are comparable whatever acts in them.

    Attributes:
        family: of the host.
        seed: of host, order of samples and birth of modules.
    """

    family: str
    seed: int


def episodes_from(first_seed: int, count: int, families: Sequence[str]) -> tuple[Episode, ...]:
    """`count` episodes with consecutive seeds, the families taking turns.

    Args:
        first_seed: `EVALUATION_SEED`, `SELECTION_SEED`, or one beyond.
        count: how many.
        families: names, at least one.
    """
    return tuple(Episode(families[index % len(families)], first_seed + index) for index in range(count))


class GrowthRecord(BaseModel):
    """What became of one episode. `Score` is J: accuracy minus rent, in points.

    Attributes:
        family: of the host.
        seed: of the episode.
        score: J on the validation part, of the mean of the last accuracies.
        accuracy: on the validation part in percent, mean of the last measurements.
        parameters: of the modules at the end, weighted by alpha.
        test_score: J on the test part at the end; None where it was not read.
        test_accuracy: on the test part in percent, likewise.
        total_reward: undiscounted return; None for a fixed topology.
        rollbacks: how often the governor went back.
        operations: steps in which an operation was executed, by its name.
        topology: K blueprint ids at the end, 0 where there is none.
        stages: for each slot, one hexadecimal digit per step, its `Stage` after it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    seed: int
    score: float
    accuracy: float
    parameters: float
    test_score: float | None = None
    test_accuracy: float | None = None
    total_reward: float | None = None
    rollbacks: int = 0
    operations: dict[str, int] = {}
    topology: tuple[int, ...]
    stages: tuple[str, ...] = ()
