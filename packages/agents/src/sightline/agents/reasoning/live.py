"""A training's progress in the terminal while it goes on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sightline.agents.reasoning.config import TrainerConfig
from sightline.agents.reasoning.training.trainer import ProgressFn

_SHOWN = {"loss": "loss {:.4f}", "cell_accuracy": "cells {:.1%}", "exact": "validation solved {:.1%}"}


@contextmanager
def live_progress(config: TrainerConfig, console: Console | None = None) -> Generator[ProgressFn]:
    """Show a bar of steps or seconds with the latest loss and validation rate; to be given to a `Trainer`.

    Args:
        config: config of the trainer.
        console: where to; default the terminal.
    """
    by_steps = config.steps is not None
    total = config.steps if config.steps is not None else 60 * (config.minutes or 0)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    latest: dict[str, str] = {}
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=total)

        def show(row: dict[str, Any]) -> None:
            latest.update({name: text.format(row[name]) for name, text in _SHOWN.items() if name in row})
            done = row["step"] if by_steps else row["seconds"]
            progress.update(bar, completed=done, description=", ".join(latest.values()) or "training")

        yield show
