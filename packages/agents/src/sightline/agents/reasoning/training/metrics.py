"""What a training reports: a line of JSON at most once a second, and one for each evaluation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightline.retrieval.jsonl import DurableLines

_SECONDS = 1.0


class MetricsLog:
    """A JSONL file of rows that survives a kill; rows after the step to which a run went back are dropped."""

    def __init__(self, path: Path | None, *, step: int) -> None:
        """Open the log.

        Args:
            path: the file, or None to keep rows in memory only.
            step: the step from which the run goes on.
        """
        self.rows: list[dict[str, Any]] = []
        self._lines: DurableLines | None = None
        if path is None:
            return
        self._lines = DurableLines(path)
        written = [json.loads(line) for _, line in self._lines.read()]
        self.rows = [row for row in written if row["step"] <= step]
        self._lines.cut(len(self.rows))

    def write(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.rows.append(row)
        if self._lines is not None:
            self._lines.append(json.dumps(row).encode())


class Means:
    """Means since the last row, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | float] = {}
        self._since = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether a second has passed since the last row."""
        return time.monotonic() - self._since >= _SECONDS

    def add(self, name: str, total: Tensor | float, count: Tensor | float = 1.0) -> None:
        """Count a sum over `count` things towards the mean of `name`."""
        value = torch.as_tensor(total, dtype=torch.float64)
        self._totals[name] = self._totals[name] + value if name in self._totals else value
        self._counts[name] = self._counts.get(name, 0.0) + count

    def take(self) -> dict[str, float]:
        """Return the means, those of nothing left out, and begin anew."""
        means = {
            name: float(total) / float(self._counts[name])
            for name, total in self._totals.items()
            if float(self._counts[name]) > 0
        }
        self._totals, self._counts = {}, {}
        self._since = time.monotonic()
        return means
