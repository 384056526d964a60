from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightline.jepa.commands.tracking import numbers_of, open_tracker
from sightline.jepa.training import EpochRecord

RECORD = EpochRecord(
    epoch=2,
    score=0.5,
    learning_rate=0.1,
    seconds=1.0,
    training={"total/loss": 0.25},
    gradient_norm={"info_nce": 3.0},
    validation={"none": 0.4, "category": 0.6},
    collapse={"rank_me": 7.0},
    steering={"none": 1.0},
)


def test_a_tracker_gets_numbers_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told: list[tuple[dict[str, float], int]] = []

    class Run:
        def __enter__(self) -> Run:
            return self

        def __exit__(self, *error: object) -> None:
            told.append(({}, -1))

        def log(self, numbers: dict[str, float], step: int) -> None:
            told.append((numbers, step))

    class Library:
        @staticmethod
        def init(**settings: str) -> Run:
            assert settings == {"project": "sightline-jepa", "name": "run", "dir": str(tmp_path / "tracker")}
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Library)
    with open_tracker("wandb", tmp_path / "tracker", "run") as tracker:
        tracker(RECORD)
    assert told == [(numbers_of(RECORD), 2), ({}, -1)]
    assert all(isinstance(value, float) for value in numbers_of(RECORD).values())
    assert numbers_of(RECORD)["validation/category"] == 0.6


def test_tensorboard_finds_the_numbers_in_the_folder(tmp_path: Path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with open_tracker("tensorboard", tmp_path, "run") as tracker:
        tracker(RECORD)
    found = accumulators.EventAccumulator(str(tmp_path)).Reload()
    assert set(found.Tags()["scalars"]) == set(numbers_of(RECORD))
    (event,) = found.Scalars("training/total/loss")
    assert (event.step, event.value) == (2, 0.25)


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_library_is_named_with_its_command(
    kind: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(ImportError, match=rf"pip install 'sightline-jepa\[{kind}\]'"),
        open_tracker(kind, tmp_path, "run"),
    ):
        pass


def test_without_a_tracker_nothing_is_written(tmp_path: Path):
    with open_tracker("none", tmp_path / "tracker", "run") as tracker:
        tracker(RECORD)
    assert not (tmp_path / "tracker").exists()
