"""What training on puzzles adds to training on anything: their three parts, validation and the final judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sightline.agents.evaluation import wilson_interval
from sightline.agents.reasoning.config import TrainerConfig
from sightline.agents.reasoning.models.reasoner import Reasoner
from sightline.agents.reasoning.puzzles.tasks import PuzzleTask
from sightline.agents.reasoning.training.checkpoint import CheckpointError
from sightline.agents.reasoning.training.evaluation import choose_threshold, trace_puzzles
from sightline.agents.reasoning.training.puzzle_sets import PuzzleSets
from sightline.agents.reasoning.training.report import PuzzleReport


def puzzle_sets(source: PuzzleTask | PuzzleSets, config: TrainerConfig, out: Path | None) -> PuzzleSets:
    """Return the parts of a training, kept in `out` so that a resumed one need not make them again.

    Raises:
        CheckpointError: the folder has puzzles of another kind.
    """
    if isinstance(source, PuzzleSets):
        return source
    path = out / "puzzles.safetensors" if out is not None else None
    if path is not None and path.exists():
        sets = PuzzleSets.read(path)
        if sets.task.name != source.name:
            raise CheckpointError(f"{path} holds {sets.task.name}, not {source.name}; take another folder")
        return sets
    sets = PuzzleSets.sample(source, puzzles=config.puzzles, held_out=config.held_out, seed=config.seed)
    if path is not None:
        sets.write(path)
    return sets


def validate_puzzles(sets: PuzzleSets, segments: int, model: Reasoner, dtype: torch.dtype) -> dict[str, Any]:
    """Return the share of validation puzzles that are solved after each segment, and how well that was foreseen."""
    trace = trace_puzzles(model, sets.task, sets.validation, segments, dtype=dtype)
    rates = trace.exact_rates()
    return {
        "exact": float(rates[-1]),
        "exact_by_step": [round(float(rate), 4) for rate in rates],
        "confidence": trace.calibration().confidence,
    }


def rate_of_test(model: Reasoner, sets: PuzzleSets, segments: int, dtype: torch.dtype) -> float:
    """Return the share of test puzzles that are solved after `segments` segments."""
    return float(trace_puzzles(model, sets.task, sets.test, segments, dtype=dtype).exact_rates()[-1])


def judge_puzzles(
    model: Reasoner, sets: PuzzleSets, segments: int, dtype: torch.dtype, *, raw_exact: float | None
) -> PuzzleReport:
    """Choose the halting threshold on the validation part, set it in the model, and judge the test part.

    Args:
        model: what answers; its configuration gets the threshold.
        sets: puzzles.
        segments: K of its training.
        dtype: arithmetic of the networks.
        raw_exact: `rate_of_test` of the weights that were not averaged.
    """
    validation = trace_puzzles(model, sets.task, sets.validation, segments, dtype=dtype)
    threshold = choose_threshold(validation)
    model.config = model.config.model_copy(update={"halt_threshold": threshold})
    trace = trace_puzzles(model, sets.task, sets.test, 2 * segments, dtype=dtype)
    rates = trace.exact_rates()
    within = trace.first(segments)
    guessed = sets.task.solve(sets.test.inputs).guesses > 0
    halted, published = within.halted(threshold), within.halted(0.5)
    calibration = within.calibration()
    interval = wilson_interval(int(within.right[:, -1].sum()), len(sets.test))
    return PuzzleReport(
        task=sets.task.name,
        puzzles=len(sets.test),
        segments=segments,
        exact_by_step=tuple(float(rate) for rate in rates),
        raw_exact=raw_exact,
        exact=float(rates[segments - 1]),
        exact_interval=(interval.low, interval.high),
        exact_with_guesses=float(within.right[guessed, -1].mean()) if guessed.any() else None,
        threshold=threshold,
        halted_exact=halted.exact_rate,
        halted_steps=halted.mean_steps,
        halted_at_half_exact=published.exact_rate,
        halted_at_half_steps=published.mean_steps,
        most_confident_exact=within.most_confident().exact_rate,
        confidence=calibration.confidence,
        calibration_error=calibration.expected_error,
    )
