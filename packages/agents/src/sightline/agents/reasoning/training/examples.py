"""What a trainer is fed with: questions with their targets, taken by number from a source that can be resumed.

This module knows neither puzzles nor games, so that both can be sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """Questions and what should be answered."""

    inputs: Tensor
    """int64 [B, L], tokens."""
    targets: dict[str, Tensor]
    """Tensors [B, ...] by name, as the objective reads them."""

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, index: Tensor | slice) -> Examples:
        """Return some of the questions; `index` is a mask [B], row numbers or a slice."""
        return Examples(self.inputs[index], {name: values[index] for name, values in self.targets.items()})

    def replaced(self, index: Tensor, other: Examples) -> Examples:
        """Return a copy in which the questions with these row numbers are those of `other`."""
        return Examples(
            self.inputs.index_copy(0, index, other.inputs),
            {name: values.index_copy(0, index, other.targets[name]) for name, values in self.targets.items()},
        )

    def to(self, device: str) -> Examples:
        """Return the questions on a device."""
        return Examples(self.inputs.to(device), {name: values.to(device) for name, values in self.targets.items()})

    @staticmethod
    def concatenate(parts: list[Examples]) -> Examples:
        """Return the parts one after another."""
        return Examples(
            torch.cat([part.inputs for part in parts]),
            {name: torch.cat([part.targets[name] for part in parts]) for name in parts[0].targets},
        )


@runtime_checkable
class ExampleSource(Protocol):
    """An endless supply of examples whose place can be written down and found again."""

    def take(self, count: int) -> Examples:
        """Return the next `count` examples."""
        ...

    def counts(self) -> dict[str, float]:
        """Return what is to be reported of the examples given so far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the place as JSON values and tensors; tensors only directly under a name."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place that `state_dict` returned."""
        ...


class IterableSource:
    """A source over batches of any size that somebody else makes, such as the replay buffer of self-play.

    What was drawn and not yet given is part of the state; the place in the iterable itself is its owner's to keep.
    """

    def __init__(self, batches: Iterable[Examples]) -> None:
        self._batches: Iterator[Examples] = iter(batches)
        self._left: Examples | None = None
        self._samples = 0

    def take(self, count: int) -> Examples:
        """Return the next examples.

        Raises:
            ValueError: the iterable has ended or gave an empty batch.
        """
        parts = [] if self._left is None else [self._left]
        while sum(len(part) for part in parts) < count:
            batch = next(self._batches, None)
            if batch is None or not len(batch):
                raise ValueError("the iterable of examples ended or is empty; training needs an endless one")
            parts.append(batch)
        ready = Examples.concatenate(parts) if len(parts) != 1 else parts[0]
        self._left = ready.rows(slice(count, None)) if len(ready) > count else None
        self._samples += count
        return ready.rows(slice(count))

    def counts(self) -> dict[str, float]:
        """Return the number of examples given."""
        return {"samples": self._samples}

    def state_dict(self) -> dict[str, Any]:
        """Return what is left of the last batch."""
        state: dict[str, Any] = {"samples": self._samples}
        if self._left is not None:
            state["inputs"] = self._left.inputs
            state |= {f"target.{name}": values for name, values in self._left.targets.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give what was left before anything new."""
        self._samples = state["samples"]
        targets = {name.removeprefix("target."): values for name, values in state.items() if name.startswith("target.")}
        self._left = Examples(state["inputs"], targets) if "inputs" in state else None
