"""The history of a training run: one record per epoch, as JSON Lines, CSV and figures.

Knows records only, not models; matplotlib (extra `plots`) is imported where a figure is drawn.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.jepa.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class HistoryError(ValueError):
    """A history file holds something other than epoch records; the message names the line."""


class EpochRecord(BaseModel):
    """What one epoch did; epoch 0 is the untrained model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    """Version of this record."""
    epoch: int = Field(ge=0)
    """Passes over the training pairs so far."""
    score: float
    """What the best epoch is chosen by: mean of the validation modes' MRR."""
    learning_rate: float = Field(ge=0)
    """Learning rate of the epoch's last step."""
    seconds: float = Field(ge=0)
    """Wall time of the epoch with its validation."""
    training: dict[str, float]
    """Mean training losses and their parts, `term/part`; empty for epoch 0."""
    gradient_norm: dict[str, float]
    """Length of each weighted term's gradient at the epoch's first step, before clipping."""
    validation: dict[str, float]
    """MRR per fixed steering mode."""
    collapse: dict[str, float]
    """Diagnostics of the validation predictions, and of the sources they should resemble."""
    steering: dict[str, float]
    """Share of each steering kind among the epoch's examples."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What happened in training."""

    history: tuple[EpochRecord, ...]
    """One record per epoch, epoch 0 (untrained) first."""
    best_epoch: int
    """The epoch whose weights the model has: highest validation score, earliest of equals."""
    finished: bool
    """False if `fit` was told to stop before the run was over."""
    kept: str = ""
    """Name of the run that validation preferred; empty where there was but one."""
    candidates: Mapping[str, float] = field(default_factory=dict)
    """Best validation score of every run by name; empty where there was but one."""

    @property
    def best_score(self) -> float:
        """Validation score of the best epoch; minus infinity before any."""
        return self.history[self.best_epoch].score if self.history else -math.inf

    @property
    def best_validation(self) -> dict[str, float]:
        """MRR of the best epoch under each steering mode."""
        return self.history[self.best_epoch].validation


def write_history(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic_file(path) as file:
        file.writelines(record.model_dump_json().encode() + b"\n" for record in records)


def read_history(path: Path) -> list[EpochRecord]:
    """Read what `write_history` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        HistoryError: a line is not an epoch record.
    """
    records = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                records.append(EpochRecord.model_validate_json(line))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                field = ".".join(str(part) for part in first["loc"])
                raise HistoryError(
                    f"{path}, line {number}, field {field!r}: {first['msg']}; delete the run's history and resume "
                    "from its checkpoint, which has a copy"
                ) from error
    return records


def write_history_csv(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write one row per epoch and one column per number, atomically; a number that an epoch lacks is left empty."""
    rows = [_flat(record) for record in records]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def plot_losses(records: Sequence[EpochRecord]) -> Figure:
    """Draw one panel per training loss, one for the validation MRR of each mode and one for the effective rank.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("there are no epochs to plot")
    trained = [record for record in records if record.training]
    names = [name for name in dict.fromkeys(key for record in trained for key in record.training) if "/loss" in name]
    figure, panels = _panels(len(names) + 2)
    for axes, name in zip(panels, names, strict=False):
        axes.plot([r.epoch for r in trained], [r.training.get(name, math.nan) for r in trained])
        axes.set_title(name.removesuffix("/loss"), fontsize="medium")
    validation, rank = panels[len(names) :]
    for mode in records[0].validation:
        validation.plot([r.epoch for r in records], [r.validation[mode] for r in records], label=mode)
    validation.set_title("validation MRR", fontsize="medium")
    for name in ("rank_me", "sources_rank_me"):
        rank.plot([r.epoch for r in records], [r.collapse.get(name, math.nan) for r in records], label=name)
    rank.set_title("effective rank", fontsize="medium")
    for axes in (validation, rank):
        axes.legend(fontsize="small", frameon=False)
    return figure


def plot_steering(records: Sequence[EpochRecord]) -> Figure:
    """Draw the share of each steering kind among the training examples, stacked over the epochs.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no record has been trained.
    """
    trained = [record for record in records if record.steering]
    if not trained:
        raise ValueError("there are no training epochs to plot")
    figure, (axes,) = _panels(1)
    kinds = list(dict.fromkeys(kind for record in trained for kind in record.steering))
    shares = [[record.steering.get(kind, 0.0) for record in trained] for kind in kinds]
    axes.stackplot([record.epoch for record in trained], shares, labels=kinds, step="mid")
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of training examples")
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _panels(count: int) -> tuple[Figure, list]:
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'sightline-jepa[plots]'") from error
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(3.4 * columns, 6.4), 2.8 * rows + 0.4), layout="constrained")
    panels = [figure.add_subplot(rows, columns, position + 1) for position in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, panels


def _flat(record: EpochRecord) -> dict[str, float]:
    """Return scalars as they are, dictionaries as `field.key`."""
    row: dict[str, float] = {}
    for name, value in record.model_dump(exclude={"schema_version"}).items():
        if isinstance(value, dict):
            row.update({f"{name}.{key}": number for key, number in value.items()})
        else:
            row[name] = value
    return row
