"""What a training comes to, as a record on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sightline.agents.files import atomic_file
from sightline.agents.reasoning.config import TrainerConfig
from sightline.retrieval.jsonl import parse_record


class PuzzleReport(BaseModel):
    """Test puzzles of unseen symmetry classes, judged by the rules, with the averaged weights.

    Attributes:
        task: name of the puzzles.
        puzzles: how many there were.
        segments: K, the most segments of training.
        exact_by_step: share solved after each of 2 K segments.
        raw_exact: share solved after K segments with the weights as they are, not averaged.
        exact: share solved after K segments.
        exact_interval: its Wilson interval at 95 %.
        exact_with_guesses: the same of puzzles at which a solver by naked singles has to guess; None without any.
        threshold: confidence at which halting was chosen on validation puzzles.
        halted_exact: share solved when halting there, in at most K segments.
        halted_steps: segments that takes on average.
        halted_at_half_exact: share solved when halting at confidence one half, as published.
        halted_at_half_steps: segments that takes on average.
        most_confident_exact: share solved by the answer of the most confident of K segments.
        confidence: mean confidence after K segments.
        calibration_error: mean distance of confidence from truth in ten bins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    task: str
    puzzles: int
    segments: int
    exact_by_step: tuple[float, ...]
    raw_exact: float | None
    exact: float
    exact_interval: tuple[float, float]
    exact_with_guesses: float | None
    threshold: float
    halted_exact: float
    halted_steps: float
    halted_at_half_exact: float
    halted_at_half_steps: float
    most_confident_exact: float
    confidence: float
    calibration_error: float


class TrainingReport(BaseModel):
    """What a training did.

    Attributes:
        steps: optimiser steps.
        seconds: CPU seconds of training (wall-clock seconds on a GPU).
        evaluation_seconds: the same of evaluations.
        skipped_steps: steps left out because they were not finite.
        parameters: trainable numbers.
        precision: the arithmetic used.
        counts: what the source says of the examples given.
        puzzles: the judgement of test puzzles, where the source was puzzles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    steps: int
    seconds: float
    evaluation_seconds: float
    skipped_steps: int
    parameters: int
    precision: Literal["float32", "bfloat16", "float16"]
    counts: dict[str, float]
    puzzles: PuzzleReport | None = None

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
