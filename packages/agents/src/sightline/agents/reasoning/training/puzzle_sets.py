"""Puzzles for training, validation and test that share no symmetry class, as one thing that a trainer takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sightline.agents.reasoning.puzzles.names import puzzle_task
from sightline.agents.reasoning.puzzles.tasks import PuzzleBatch, PuzzleTask, split_by_class
from sightline.agents.reasoning.training.loader import Loader, PuzzleBuffer
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PuzzleSets:
    """Puzzles of one kind in three parts without common symmetry classes."""

    task: PuzzleTask
    """The kind."""
    train: PuzzleBatch
    """What is learnt from."""
    validation: PuzzleBatch
    """What learning curves and thresholds are read from."""
    test: PuzzleBatch
    """What is reported."""

    @classmethod
    def sample(cls, task: PuzzleTask, *, puzzles: int, held_out: int, seed: int) -> PuzzleSets:
        """Make puzzles and divide them.

        Args:
            task: the kind.
            puzzles: puzzles of the training part; classes drawn into the held-out parts are made beside them.
            held_out: puzzles of validation and of test each.
            seed: seed of all draws.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        batch = task.sample(rng, puzzles + 2 * held_out)
        return cls(task, **split_by_class(batch, {"validation": held_out, "test": held_out}, rng))

    def loader(self, batch_size: int, *, augment: bool, seed: int) -> Loader:
        """Return an endless supply of the training part."""
        buffer = PuzzleBuffer(self.task, len(self.train), seed=seed)
        buffer.add(self.train)
        return Loader(buffer, batch_size, augment=augment, seed=seed)

    def write(self, path: Path) -> None:
        """Write all parts to one file, atomically."""
        tensors = {
            f"{part}.{name}": torch.from_numpy(getattr(getattr(self, part), name).astype(dtype))
            for part in _PARTS
            for name, dtype in (("inputs", np.int16), ("targets", np.int16), ("group", np.int64))
        }
        with atomic_file(path) as file:
            file.write(save(tensors, metadata={"task": self.task.name}))

    @classmethod
    def read(cls, path: Path) -> PuzzleSets:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            RecordError: it holds something else.
        """
        if not path.exists():
            raise FileNotFoundError(f"there are no puzzles at {path}")
        try:
            with safe_open(path, framework="np") as file:
                task = puzzle_task((file.metadata() or {})["task"])
                arrays = {name: file.get_tensor(name).astype(np.int64) for name in file.keys()}  # noqa: SIM118
                parts = {
                    part: PuzzleBatch(*(arrays[f"{part}.{name}"] for name in ("inputs", "targets", "group")))
                    for part in _PARTS
                }
        except (SafetensorError, KeyError, ValueError) as error:
            raise RecordError(f"{path} holds no puzzles: {error}; delete it to have them made anew") from error
        return cls(task, **parts)
