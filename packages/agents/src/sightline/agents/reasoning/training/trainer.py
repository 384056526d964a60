"""Training of any reasoner on any source of examples, the same for all of them, resumed exactly after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.agents.reasoning.config import TrainerConfig
from sightline.agents.reasoning.models.reasoner import Latents, Reasoner
from sightline.agents.reasoning.puzzles.tasks import PuzzleTask
from sightline.agents.reasoning.training.checkpoint import check_same, load_checkpoint, save_checkpoint
from sightline.agents.reasoning.training.ema import AveragedWeights
from sightline.agents.reasoning.training.examples import Examples, ExampleSource, IterableSource
from sightline.agents.reasoning.training.halting import Carry, begin, least_segments, refill
from sightline.agents.reasoning.training.losses import CellObjective
from sightline.agents.reasoning.training.metrics import Means, MetricsLog
from sightline.agents.reasoning.training.precision import choose_precision, dtype_of
from sightline.agents.reasoning.training.puzzle_sets import PuzzleSets
from sightline.agents.reasoning.training.puzzle_training import (
    judge_puzzles,
    puzzle_sets,
    rate_of_test,
    validate_puzzles,
)
from sightline.agents.reasoning.training.report import TrainingReport, training_notes
from sightline.agents.reasoning.training.state import gather, scatter
from sightline.agents.reasoning.training.supervision import Objective, StepLoss, step_loss

_DIVERGED_AFTER = 3
_EVALUATION_SHARE = 1 / 7
_MAY_CHANGE = frozenset({"steps", "minutes", "checkpoint_every", "evaluate_every"})

EvaluateFn = Callable[[Reasoner, torch.dtype], dict[str, Any]]
"""Judges a model, given the arithmetic to use, and returns JSON values to be reported."""

ProgressFn = Callable[[dict[str, Any]], None]
"""Told each row of metrics as it is written."""


class DivergenceError(RuntimeError):
    """Three steps in a row had no finite loss or gradient; the checkpoint before them stays."""


class Trainer:
    """A model's way through examples: segments, losses, clipping, AdamW, averaged weights, halting and refilling.

    Equal configurations and sources give equal weights bit for bit at an equal number of threads, also when the
    process is killed in between, as long as the end is given in steps.
    """

    def __init__(
        self,
        model: Reasoner,
        source: PuzzleTask | PuzzleSets | ExampleSource | Iterable[Examples],
        config: TrainerConfig,
        *,
        out: Path | str | None = None,
        objective: Objective | None = None,
        evaluate: EvaluateFn | None = None,
        progress: ProgressFn | None = None,
    ) -> None:
        """Prepare to train; a checkpoint in `out` is gone on from.

        Args:
            model: a reasoner, trained in place.
            source: puzzles, of which some are held out for validation and test; or examples without end.
            config: how to train.
            out: folder of the checkpoint, of `metrics.jsonl` and of what is made in the end; None keeps nothing.
            objective: what to learn; default the cells of puzzles.
            evaluate: judges the weights now and then; default by the rules on validation puzzles, where there are any.
            progress: told each row of metrics.

        Raises:
            CheckpointError: the checkpoint is damaged, or of another model or configuration.
        """
        self.model = model.to(config.device)
        self.config = config
        self.out = Path(out) if out is not None else None
        self.sets = puzzle_sets(source, config, self.out) if isinstance(source, PuzzleTask | PuzzleSets) else None
        self.source = _source(source, self.sets, config)
        self.objective = objective or CellObjective(stablemax=config.stablemax)
        self.step = 0
        self.seconds = 0.0
        self.evaluation_seconds = 0.0
        self.skipped = 0
        self._failures = 0
        self._evaluated_at = 0.0
        self._evaluate = evaluate
        if evaluate is None and self.sets is not None:
            self._evaluate = partial(validate_puzzles, self.sets, config.segments)
        self._progress = progress
        self._rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(1,)))
        self.precision = choose_precision(config.precision, self.model, config.device)
        self._scaler = torch.amp.GradScaler("cuda", enabled=self.precision == "float16")
        self._optimizer = _optimizer(model, config)
        self.averaged = AveragedWeights(model, config.ema) if config.ema is not None else None
        self._carry: Carry | None = None
        self._means = Means()
        if self._checkpoint is not None and self._checkpoint.exists():
            self._load(self._checkpoint)
        self._log = MetricsLog(self.out / "metrics.jsonl" if self.out is not None else None, step=self.step)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows of metrics so far."""
        return self._log.rows

    def fit(self) -> TrainingReport:
        """Train until the configured steps or minutes are reached; the model then holds the averaged weights.

        With puzzles as the source the halting threshold is chosen on the validation part and the test part is judged;
        with a folder, the model goes to `model` in it and the report to `report.json`.

        Raises:
            ValueError: neither steps nor minutes are configured.
            DivergenceError: three steps in a row were not finite.
        """
        config = self.config
        if config.steps is None and config.minutes is None:
            raise ValueError("TrainerConfig needs steps or minutes, or training has no end")
        saved = self.step
        while not self._done():
            begun = self._clock()
            self.train_step()
            self.seconds += self._clock() - begun
            if self._means.due:
                self._write("train", self._means.take())
            since = self.seconds - self._evaluated_at
            if since >= config.evaluate_every and self.evaluation_seconds <= _EVALUATION_SHARE * self.seconds:
                self.evaluate()
            if self.step - saved >= config.checkpoint_every:
                saved = self.step
                self.save()
        self.evaluate()
        self.save()
        return self._finish()

    def train_step(self) -> StepLoss:
        """Take one optimiser step; one whose loss or gradient is not finite changes no weight.

        Raises:
            DivergenceError: it is the third of them in a row.
        """
        config = self.config
        self.model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (self.step + 1) / max(config.warmup, 1))
        self._optimizer.zero_grad(set_to_none=True)
        result = step_loss(self.model, self.objective, self._refilled(), config, dtype_of(self.precision))
        self._scaler.scale(result.loss).backward()
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        finite = bool(torch.isfinite(result.loss) & torch.isfinite(norm))
        if finite:
            self._scaler.step(self._optimizer)
            if self.averaged is not None:
                self.averaged.update(self.model)
        self._scaler.update()
        self._carry = result.carry
        self.step += 1
        self._count(result, norm, finite=finite)
        return result

    def evaluate(self) -> dict[str, Any] | None:
        """Judge the averaged weights, and the raw ones beside them, and write a row."""
        evaluate = self._evaluate
        if evaluate is None:
            return None
        begun = self._clock()
        self._evaluated_at = self.seconds
        self.model.eval()
        row = evaluate(self.model, dtype_of(self.precision))
        if self.averaged is not None:
            raw = {f"raw_{name}": value for name, value in row.items()}
            with self.averaged.applied(self.model):
                row = evaluate(self.model, dtype_of(self.precision)) | raw
        self.evaluation_seconds += self._clock() - begun
        return self._write("evaluation", row)

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        if self._checkpoint is None:
            return
        tensors, values = gather(self.model, self._optimizer, self.averaged, self._carry, self.source)
        save_checkpoint(
            self._checkpoint,
            tensors,
            values
            | {
                "model": self.model.config.model_dump(mode="json"),
                "trainer": self.config.model_dump(mode="json"),
                "precision": self.precision,
                "step": self.step,
                "seconds": self.seconds,
                "evaluation_seconds": self.evaluation_seconds,
                "evaluated_at": self._evaluated_at,
                "skipped": self.skipped,
                "scaler": self._scaler.state_dict(),
                "rng": self._rng.bit_generator.state,
            },
        )

    @property
    def _checkpoint(self) -> Path | None:
        return self.out / "checkpoint.safetensors" if self.out is not None else None

    def _load(self, path: Path) -> None:
        tensors, record = load_checkpoint(path)
        check_same(path, record["model"], self.model.config)
        check_same(path, record["trainer"], self.config, ignored=_MAY_CHANGE)
        self._carry = scatter(
            tensors, record, self.model, self._optimizer, self.averaged, self.source, self.config.device
        )
        self.precision = record["precision"]
        self.step, self.seconds, self.skipped = record["step"], record["seconds"], record["skipped"]
        self.evaluation_seconds, self._evaluated_at = record["evaluation_seconds"], record["evaluated_at"]
        self._scaler.load_state_dict(record["scaler"])
        self._rng.bit_generator.state = record["rng"]

    def _refilled(self) -> Carry:
        """Return the questions at work with new ones in the place of those that have halted."""
        carry = self._carry
        wanted = self.config.batch_size if carry is None else int(carry.halted.sum())
        if carry is not None and not wanted:
            return carry
        fresh = self.source.take(wanted).to(self.config.device)
        least = least_segments(self._rng, wanted, self.config)
        if carry is None:
            return begin(fresh, self._start, least)
        return refill(carry, fresh, self._start, least)

    def _start(self, inputs: Tensor) -> Latents:
        with torch.no_grad():
            return self.model.initial(inputs, dtype_of(self.precision))

    def _count(self, result: StepLoss, norm: Tensor, *, finite: bool) -> None:
        """Count a step towards the next row of metrics, and give up where three in a row were not finite."""
        means = self._means
        self._failures = 0 if finite else self._failures + 1
        self.skipped += not finite
        if self._failures >= _DIVERGED_AFTER:
            last = self.rows[-1] if self.rows else {}
            raise DivergenceError(
                f"{_DIVERGED_AFTER} steps in a row until step {self.step} had no finite loss or gradient; last metrics "
                f"{last}. Lower learning_rate or clip, or set precision to float32; the last checkpoint is intact"
            )
        if not finite:
            return
        right, halted = result.measures["right"], result.carry.halted
        means.add("loss", result.loss.detach())
        for name, term in result.terms.items():
            means.add(name, term)
        for name, values in result.measures.items():
            means.add("exact_accuracy" if name == "right" else name, values.double().mean())
        means.add("exact_accuracy_halted", (right & halted).sum(), halted.sum())
        means.add("halt_accuracy", ((result.margin > 0) == right).double().mean())
        means.add("mean_steps", (result.carry.steps * halted).sum(), halted.sum())
        means.add("grad_norm", norm)
        means.add("clipped_share", (norm > self.config.clip).double())
        means.add("examples_per_second", 0.0)

    def _write(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        row = {"kind": kind, "step": self.step, "seconds": round(self.seconds, 3), **values}
        if kind == "train":
            row |= self.source.counts()
            row |= {"skipped_steps": self.skipped, "lr": self._optimizer.param_groups[0]["lr"]}
            row["examples_per_second"] = self.step * self.config.batch_size / max(self.seconds, 1e-9)
        self._log.write(row)
        if self._progress is not None:
            self._progress(row)
        return row

    def _finish(self) -> TrainingReport:
        """Give the model its averaged weights, judge it, and write it down."""
        segments, dtype = self.config.segments, dtype_of(self.precision)
        self.model.eval()
        raw = None if self.sets is None else rate_of_test(self.model, self.sets, segments, dtype)
        if self.averaged is not None:
            self.averaged.copy_to(self.model)
        report = TrainingReport(
            steps=self.step,
            seconds=self.seconds,
            evaluation_seconds=self.evaluation_seconds,
            skipped_steps=self.skipped,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            precision=self.precision,
            counts=self.source.counts(),
        )
        if self.sets is not None:
            puzzles = judge_puzzles(self.model, self.sets, segments, dtype, raw_exact=raw)
            report = report.model_copy(update={"puzzles": puzzles})
        if self.out is not None:
            self.model.save_pretrained(self.out / "model", training=training_notes(self.config, report))
            report.write(self.out / "report.json")
        return report

    def _done(self) -> bool:
        steps, minutes = self.config.steps, self.config.minutes
        return (steps is not None and self.step >= steps) or (minutes is not None and self.seconds >= 60 * minutes)

    def _clock(self) -> float:
        if self.config.device == "cpu":
            return time.process_time()
        if self.config.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()


def _source(
    source: PuzzleTask | PuzzleSets | ExampleSource | Iterable[Examples], sets: PuzzleSets | None, config: TrainerConfig
) -> ExampleSource:
    if sets is not None:
        return sets.loader(config.batch_size, augment=config.augment, seed=config.seed)
    if isinstance(source, ExampleSource):
        return source
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise TypeError(f"examples come from puzzles, a source or an iterable, not from {type(source).__name__}")


def _optimizer(model: Reasoner, config: TrainerConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and leaves biases and heads that begin at zero alone."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, foreach=True)
