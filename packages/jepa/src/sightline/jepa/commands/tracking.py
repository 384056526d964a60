"""Numbers of every epoch for TensorBoard or Weights & Biases. They get numbers only: no texts, vectors or names."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sightline.jepa.training.history import EpochRecord

Tracker: TypeAlias = Callable[[EpochRecord], None]
"""What is told of every epoch."""


def numbers_of(record: EpochRecord) -> dict[str, float]:
    """Return the numbers of an epoch by `part/name`."""
    found = {"score": record.score, "learning_rate": record.learning_rate}
    for part in ("training", "gradient_norm", "validation", "collapse", "steering"):
        found |= {f"{part}/{name}": value for name, value in getattr(record, part).items()}
    return found


@contextmanager
def open_tracker(kind: str, folder: Path, name: str) -> Generator[Tracker]:
    """Open a tracker, and close it when the block ends.

    Args:
        kind: "none", "tensorboard", which writes into the folder, or "wandb", as its own environment says.
        folder: folder to write into.
        name: name of the run.

    Raises:
        ImportError: the tracker's library is not installed; the message has the command that installs it.
    """
    if kind == "none":
        yield lambda record: None
    elif kind == "tensorboard":
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard is missing: pip install 'sightline-jepa[tensorboard]'") from error
        with SummaryWriter(str(folder)) as writer:

            def write(record: EpochRecord) -> None:
                for key, value in numbers_of(record).items():
                    writer.add_scalar(key, value, record.epoch)

            yield write
    else:
        try:
            import wandb  # ty: ignore[import-not-found] - an extra
        except ImportError as error:
            raise ImportError("Weights & Biases is missing: pip install 'sightline-jepa[wandb]'") from error
        folder.mkdir(parents=True, exist_ok=True)
        with wandb.init(project="sightline-jepa", name=name, dir=str(folder)) as run:
            yield lambda record: run.log(numbers_of(record), step=record.epoch)
