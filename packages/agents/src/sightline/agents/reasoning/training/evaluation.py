"""How often answers keep the rules after each segment, and what halting early costs.

Everything is read from one pass over the puzzles, a `Trace`; thresholds are chosen on one trace and judged on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightline.agents.reasoning.models.reasoner import Reasoner
from sightline.agents.reasoning.puzzles.tasks import PuzzleBatch, PuzzleTask

_BINS = 10


@dataclass(frozen=True)
class Trace:
    """What became of B puzzles over S segments."""

    right: NDArray[np.bool_]
    """Bool [B, S], the answer after each segment keeps the rules."""
    confidence: NDArray[np.float32]
    """Float [B, S], the model's estimate that it does."""

    def exact_rates(self) -> NDArray[np.float64]:
        """Return the share of right answers after each segment, [S]."""
        return self.right.mean(axis=0)

    def first(self, steps: int) -> Trace:
        """Return the trace of no more than so many segments."""
        return Trace(self.right[:, :steps], self.confidence[:, :steps])

    def halted(self, threshold: float, *, least: int = 1) -> HaltedResult:
        """Return what halting at the first segment of at least this confidence gives.

        Args:
            threshold: confidence at which to halt; a puzzle that never reaches it goes through all segments.
            least: segments before which no puzzle halts.
        """
        reached = self.confidence >= threshold
        reached[:, : least - 1] = False
        last = self.right.shape[1] - 1
        step = np.where(reached.any(axis=1), reached.argmax(axis=1), last)
        return HaltedResult(self.right[np.arange(len(step)), step], step + 1)

    def most_confident(self) -> HaltedResult:
        """Return what taking the answer of the most confident segment gives; all segments are gone through."""
        step = self.confidence.argmax(axis=1)
        return HaltedResult(self.right[np.arange(len(step)), step], np.full(len(step), self.right.shape[1]))

    def calibration(self, step: int = -1) -> Calibration:
        """Return how far confidence after a segment, by default the last, is from the share of right answers."""
        confidence, right = self.confidence[:, step].astype(np.float64), self.right[:, step]
        bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
        gaps = [
            abs(confidence[bins == chosen].mean() - right[bins == chosen].mean()) * (bins == chosen).mean()
            for chosen in np.unique(bins)
        ]
        return Calibration(float(confidence.mean()), float(right.mean()), float(sum(gaps)))


@dataclass(frozen=True)
class HaltedResult:
    """Answers of B puzzles that each halted at some segment."""

    right: NDArray[np.bool_]
    """Bool [B]."""
    steps: NDArray[np.int64]
    """int64 [B], segments gone through."""

    @property
    def exact_rate(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def mean_steps(self) -> float:
        """Segments gone through by the mean puzzle."""
        return float(self.steps.mean())


@dataclass(frozen=True)
class Calibration:
    """Confidence beside truth."""

    confidence: float
    """Mean estimate that the answer is right."""
    exact_rate: float
    """Share of right answers."""
    expected_error: float
    """Mean over ten bins of confidence, weighted by their puzzles, of its distance from the share of right answers
    there."""

    @property
    def gap(self) -> float:
        """Distance of mean confidence from the share of right answers."""
        return abs(self.confidence - self.exact_rate)


def trace_puzzles(
    model: Reasoner,
    task: PuzzleTask,
    puzzles: PuzzleBatch,
    steps: int,
    *,
    batch_size: int = 256,
    dtype: torch.dtype | None = None,
) -> Trace:
    """Answer puzzles and judge the answer after each segment by the rules.

    Args:
        model: what answers.
        task: the rules.
        puzzles: B of them; their targets are not read.
        steps: segments, S.
        batch_size: puzzles answered at a time.
        dtype: arithmetic of the networks; default that of the weights.
    """
    right = np.empty((len(puzzles), steps), dtype=np.bool_)
    confidence = np.empty((len(puzzles), steps), dtype=np.float32)
    device = next(nn.Module.parameters(model)).device
    with torch.inference_mode():
        for start in range(0, len(puzzles), batch_size):
            rows = slice(start, start + batch_size)
            given = puzzles.inputs[rows]
            asked = task.asked(given)
            inputs = torch.from_numpy(given).to(device)
            latents = model.initial(inputs, dtype)
            for step in range(steps):
                latents, output = model(inputs, latents, dtype)
                cells = output.logits.argmax(dim=-1).cpu().numpy()
                right[rows, step] = task.is_solution(given, np.where(asked, cells, given))
                confidence[rows, step] = output.halt.sigmoid().cpu().numpy()
    return Trace(right, confidence)


def choose_threshold(trace: Trace, *, tolerance: float = 0.01) -> float:
    """Return the threshold with the fewest segments whose exact rate is within `tolerance` of going through all.

    Halting where the model merely thinks itself more right than wrong stops too soon; the threshold is a matter of
    validation puzzles of other symmetry classes than those it is then judged on.

    Args:
        trace: trace of validation puzzles.
        tolerance: how much of the exact rate after the last segment may be given up.
    """
    full = trace.exact_rates()[-1]
    levels = np.unique(np.quantile(trace.confidence, np.linspace(0, 1, 201)).clip(1e-6, 1 - 1e-6))
    best, fewest = float(levels[-1]), float(trace.right.shape[1])
    for level in levels:
        result = trace.halted(float(level))
        if result.exact_rate >= full - tolerance and result.mean_steps < fewest:
            best, fewest = float(level), result.mean_steps
    return best
