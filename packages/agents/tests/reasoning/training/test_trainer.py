from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.agents.reasoning import (
    TRM,
    Addition,
    CheckpointError,
    DivergenceError,
    Examples,
    HRMConfig,
    Output,
    PolicyValueObjective,
    PuzzleSets,
    Sudoku,
    Trainer,
    TrainerConfig,
    TrainingReport,
    TRMConfig,
    load_reasoner,
    make_reasoner,
)
from sightline.agents.reasoning.training.losses import CellObjective

TASK = Addition(1)
SETS = PuzzleSets.sample(Addition(2), puzzles=200, held_out=20, seed=0)


def model(**settings: Any) -> TRM:
    return TRM(TRMConfig.for_task(SETS.task, **{"width": 16, "layers": 1} | settings))


def config(**settings: Any) -> TrainerConfig:
    return TrainerConfig.model_validate(
        {"steps": 30, "segments": 3, "batch_size": 8, "precision": "float32", "warmup": 5} | settings
    )


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_it_learns_to_add() -> None:
    sets = PuzzleSets.sample(TASK, puzzles=300, held_out=8, seed=0)
    trm = TRM(TRMConfig.for_task(TASK, width=32, layers=1))
    report = Trainer(trm, sets, config(steps=250, batch_size=32, learning_rate=5e-3)).fit()
    assert trm.solve(sets.train.inputs).solved.mean() > 0.9
    assert report.puzzles is not None
    assert report.puzzles.exact_by_step[2] == report.puzzles.exact


@pytest.mark.parametrize("supervision", ["segments", "decayed", "last"])
def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(supervision: str, tmp_path: Path) -> None:
    settings = {"supervision": supervision, "checkpoint_every": 7}
    whole = model()
    Trainer(whole, SETS, config(**settings), out=tmp_path / "whole").fit()
    part = model()
    Trainer(part, SETS, config(**settings, steps=17), out=tmp_path / "parts").fit()
    assert not equal(whole, part)
    rest = model()
    trainer = Trainer(rest, SETS, config(**settings), out=tmp_path / "parts")
    assert trainer.step == 17
    trainer.fit()
    assert equal(whole, rest)


CHILD = """
import sys
from pathlib import Path
from sightline.agents.reasoning import TRM, Addition, Trainer, TrainerConfig, TRMConfig
import torch
torch.set_num_threads(1)
task = Addition(2)
model = TRM(TRMConfig.for_task(task, width=16, layers=1))
config = TrainerConfig(
    steps=int(sys.argv[2]), segments=3, batch_size=8, precision="bfloat16", puzzles=200, held_out=20, checkpoint_every=5
)
Trainer(model, task, config, out=sys.argv[1]).fit()
"""


def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), "120"], env=environment)

    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "whole"), "120"])
    exec(CHILD, {})
    killed = run(tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "report.json").exists()
    assert run(tmp_path / "killed").wait(timeout=120) == 0
    whole, resumed = (load_reasoner(tmp_path / name / "model") for name in ("whole", "killed"))
    assert equal(whole, resumed)
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert rows[-1]["kind"] == "evaluation"
    assert rows[-1]["step"] == 120
    assert TrainingReport.read(tmp_path / "killed" / "report.json").steps == 120


def test_minutes_count_on_after_a_resume(tmp_path: Path) -> None:
    settings = {"steps": None, "checkpoint_every": 5}
    first = Trainer(model(), SETS, config(**settings, minutes=0.004), out=tmp_path)
    first.fit()
    second = Trainer(model(), SETS, config(**settings, minutes=0.008), out=tmp_path)
    assert second.seconds == pytest.approx(first.seconds)
    assert second.step == first.step
    second.fit()
    assert second.step > first.step
    assert 0.48 <= second.seconds < 5


def test_a_checkpoint_of_another_run_is_refused_by_the_first_field_that_differs(tmp_path: Path) -> None:
    Trainer(model(), SETS, config(steps=2), out=tmp_path).fit()
    with pytest.raises(CheckpointError, match="made with batch_size = 8, but this run has 9"):
        Trainer(model(), SETS, config(batch_size=9, seed=1), out=tmp_path)
    with pytest.raises(CheckpointError, match="made with cycles = 2, but this run has 1"):
        Trainer(model(cycles=1), SETS, config(), out=tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        Trainer(model(), SETS, config(), out=tmp_path)


class Spoilt(CellObjective):
    """Has no finite loss at the given calls."""

    def __init__(self, *calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.call = 0

    def loss(self, output: Output, targets: dict[str, Tensor]) -> Tensor:
        self.call += 1
        return super().loss(output, targets) * (float("nan") if self.call in self.calls else 1.0)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted() -> None:
    trm = model()
    trainer = Trainer(trm, SETS, config(), objective=Spoilt(2, 3))
    trainer.train_step()
    before = {name: value.clone() for name, value in trm.state_dict().items()}
    trainer.train_step()
    trainer.train_step()
    assert all(torch.equal(value, before[name]) for name, value in trm.state_dict().items())
    assert trainer.skipped == 2
    trainer.train_step()
    assert not all(torch.equal(value, before[name]) for name, value in trm.state_dict().items())


def test_three_in_a_row_end_the_training_and_leave_the_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(model(), SETS, config(checkpoint_every=4), objective=Spoilt(10, 11, 12), out=tmp_path)
    with pytest.raises(DivergenceError, match="3 steps in a row until step 12"):
        trainer.fit()
    assert Trainer(model(), SETS, config(checkpoint_every=4), out=tmp_path).step == 8


def test_rows_of_metrics_hold_what_is_promised(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    trainer = Trainer(model(), SETS, config(steps=None, minutes=0.03), out=tmp_path, progress=told.append)
    trainer.fit()
    assert told == trainer.rows
    assert told == [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    train = next(row for row in told if row["kind"] == "train")
    assert {
        *("loss", "task_loss", "halt_loss", "ponder", "cell_accuracy", "exact_accuracy", "exact_accuracy_halted"),
        *("halt_accuracy", "mean_steps", "grad_norm", "clipped_share", "skipped_steps", "lr", "samples"),
        *("distinct_samples", "fallback_share", "seconds", "examples_per_second", "step", "kind"),
    } == set(train)
    evaluation = told[-1]
    assert evaluation["kind"] == "evaluation"
    assert {"exact", "exact_by_step", "confidence", "raw_exact"} <= set(evaluation)


def test_puzzles_are_kept_beside_the_checkpoint(tmp_path: Path) -> None:
    settings = config(steps=1, puzzles=60, held_out=10)
    first = Trainer(model(), Addition(2), settings, out=tmp_path)
    second = Trainer(model(), Addition(2), settings, out=tmp_path)
    assert first.sets is not None
    assert second.sets is not None
    for part in ("train", "validation", "test"):
        assert (getattr(first.sets, part).inputs == getattr(second.sets, part).inputs).all()
        assert (getattr(first.sets, part).group == getattr(second.sets, part).group).all()
    classes = [set(getattr(first.sets, part).group.tolist()) for part in ("train", "validation", "test")]
    assert not classes[0] & classes[1] | classes[0] & classes[2] | classes[1] & classes[2]


def test_puzzles_of_another_kind_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    Trainer(model(), Addition(2), config(steps=1, puzzles=60, held_out=10), out=tmp_path)
    with pytest.raises(CheckpointError, match="holds addition-2, not addition-1"):
        Trainer(model(), TASK, config(steps=1, puzzles=60, held_out=10), out=tmp_path)


def test_any_iterable_of_examples_trains_a_policy_and_a_value() -> None:
    rng = np.random.default_rng(0)
    boards = torch.from_numpy(rng.integers(0, 3, size=(64, 6)))
    # The best move is the first cell's stone; the position is won where the second cell holds one.
    policy = torch.nn.functional.one_hot(boards[:, 0], 3).float()
    value = (boards[:, 1] > 0).float() * 2 - 1

    def batches() -> Iterator[Examples]:
        while True:
            rows = torch.from_numpy(rng.integers(0, 64, size=20))
            yield Examples(boards[rows], {"policy": policy[rows], "value": value[rows]})

    trm = TRM(TRMConfig(task="game", length=6, vocabulary=3, actions=3, width=16, layers=1))
    Trainer(trm, batches(), config(steps=300, learning_rate=5e-3), objective=PolicyValueObjective()).fit()
    latents = trm.initial(boards)
    with torch.no_grad():
        for _ in range(3):
            latents, output = trm(boards, latents)
    assert (output.logits.argmax(dim=1) == boards[:, 0]).double().mean() > 0.95
    assert output.value is not None
    assert (output.value - value).abs().mean() < 0.2


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(TypeError, match="not from int"):
        Trainer(model(), 3, config())  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="needs steps or minutes"):
        Trainer(model(), SETS, TrainerConfig()).fit()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trm", "hrm"])
def test_32_puzzles_are_learnt_by_heart(kind: str) -> None:
    task = Sudoku(6)
    settings = {"trm": TRMConfig, "hrm": HRMConfig}[kind].for_task(task)
    sets = PuzzleSets.sample(task, puzzles=32, held_out=8, seed=0)
    reasoner = make_reasoner(settings)
    Trainer(reasoner, sets, TrainerConfig(minutes=1, augment=False, batch_size=32)).fit()
    assert reasoner.solve(sets.train.inputs).solved.all()


@pytest.mark.slow
def test_the_halting_head_is_calibrated_on_unseen_classes() -> None:
    task = Sudoku(6)
    report = Trainer(TRM(TRMConfig.for_task(task)), task, TrainerConfig(minutes=2, learning_rate=1.5e-3)).fit()
    assert report.puzzles is not None
    assert abs(report.puzzles.confidence - report.puzzles.exact) <= 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sudoku_of_side_9_is_learnt_within_ten_minutes_on_a_gpu(precision: str) -> None:
    task = Sudoku(9, clues=(30, 36))
    settings = TrainerConfig.model_validate(
        {"minutes": 10, "device": "cuda", "batch_size": 768, "precision": precision, "learning_rate": 1e-3}
    )
    report = Trainer(TRM(TRMConfig.for_task(task, width=256)), task, settings).fit()
    assert report.puzzles is not None
    assert report.puzzles.exact > 0.1
