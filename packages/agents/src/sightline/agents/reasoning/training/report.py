"""What a training comes to, as a record on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sightline.agents.reasoning.config import TrainerConfig
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import parse_record


class PuzzleReport(BaseModel):
    """Test puzzles of unseen symmetry classes, judged by the rules, with the averaged weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    task: str
    """Name of the puzzles."""
    puzzles: int
    """How many there were."""
    segments: int
    """K, the most segments of training."""
    exact_by_step: tuple[float, ...]
    """Share solved after each of 2 K segments."""
    raw_exact: float | None
    """Share solved after K segments with the weights as they are, not averaged."""
    exact: float
    """Share solved after K segments."""
    exact_interval: tuple[float, float]
    """Its Wilson interval at 95 %."""
    exact_with_guesses: float | None
    """The same of puzzles at which a solver by naked singles has to guess; None without any."""
    threshold: float
    """Confidence at which halting was chosen on validation puzzles."""
    halted_exact: float
    """Share solved when halting there, in at most K segments."""
    halted_steps: float
    """Segments that takes on average."""
    halted_at_half_exact: float
    """Share solved when halting at confidence one half, as published."""
    halted_at_half_steps: float
    """Segments that takes on average."""
    most_confident_exact: float
    """Share solved by the answer of the most confident of K segments."""
    confidence: float
    """Mean confidence after K segments."""
    calibration_error: float
    """Mean distance of confidence from truth in ten bins."""


class TrainingReport(BaseModel):
    """What a training did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    steps: int
    """Optimiser steps."""
    seconds: float
    """CPU seconds of training (wall-clock seconds on a GPU)."""
    evaluation_seconds: float
    """The same of evaluations."""
    skipped_steps: int
    """Steps left out because they were not finite."""
    parameters: int
    """Trainable numbers."""
    precision: Literal["float32", "bfloat16", "float16"]
    """The arithmetic used."""
    counts: dict[str, float]
    """What the source says of the examples given."""
    puzzles: PuzzleReport | None = None
    """The judgement of test puzzles, where the source was puzzles."""

    def write(self, path: Path) -> None:
        """Write the record, atomically."""
        with atomic_file(path) as file:
            file.write(self.model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> TrainingReport:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            RecordError: it holds something else.
        """
        return parse_record(cls, path.read_bytes(), where=str(path))


def training_notes(config: TrainerConfig, report: TrainingReport) -> str:
    """Return a model card's account of a training and its results, in Markdown."""
    lines = [
        f"Trained for {report.steps:,} steps of {config.batch_size} questions in {report.seconds:.0f} seconds, "
        f"{report.precision}, seed {config.seed}; {report.skipped_steps} steps were skipped.",
        "",
        "```json",
        config.model_dump_json(indent=1),
        "```",
    ]
    puzzles = report.puzzles
    if puzzles is not None:
        low, high = puzzles.exact_interval
        lines += [
            "",
            f"Of {puzzles.puzzles} test puzzles of symmetry classes never trained on:",
            "",
            "| measure | value |",
            "|---|---|",
            f"| solved after {puzzles.segments} segments | {puzzles.exact:.3f} [{low:.3f}, {high:.3f}] |",
            f"| solved after {2 * puzzles.segments} segments | {puzzles.exact_by_step[-1]:.3f} |",
            f"| solved when halting at confidence {puzzles.threshold:.3f} | {puzzles.halted_exact:.3f} "
            f"in {puzzles.halted_steps:.1f} segments |",
            f"| mean confidence | {puzzles.confidence:.3f} |",
            f"| mean distance of confidence from truth, ten bins | {puzzles.calibration_error:.3f} |",
        ]
    return "\n".join(lines)
