from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest

from sightline.jepa.files import atomic_file
from sightline.jepa.training.history import (
    EpochRecord,
    HistoryError,
    plot_losses,
    plot_steering,
    read_history,
    write_history,
    write_history_csv,
)


def record(epoch: int) -> EpochRecord:
    trained = epoch > 0
    return EpochRecord(
        epoch=epoch,
        score=0.5 + epoch / 100,
        learning_rate=1e-3 / (epoch + 1),
        seconds=1.5,
        training={"info_nce/loss": 3.0 / (epoch + 1), "info_nce/accuracy": 0.25, "total/loss": 3.5} if trained else {},
        gradient_norm={"info_nce": 0.1} if trained else {},
        validation={"none": 0.4, "category": 0.6 + epoch / 100},
        collapse={"rank_me": 80.0 + epoch, "sources_rank_me": 120.0},
        steering={"none": 0.25, "category": 0.75} if trained else {},
    )


HISTORY = [record(epoch) for epoch in range(4)]


def test_a_history_survives_its_file(tmp_path: Path):
    write_history(tmp_path / "history.jsonl", HISTORY)
    assert read_history(tmp_path / "history.jsonl") == HISTORY


def test_numbers_that_are_not_finite_survive_too(tmp_path: Path):
    strange = HISTORY[1].model_copy(update={"training": {"total/loss": math.inf}})
    write_history(tmp_path / "history.jsonl", [strange])
    assert read_history(tmp_path / "history.jsonl") == [strange]


def test_a_damaged_line_is_named(tmp_path: Path):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:40]]))
    with pytest.raises(HistoryError, match="line 3"):
        read_history(path)


def test_the_csv_has_a_row_per_epoch_and_leaves_empty_what_an_epoch_lacks(tmp_path: Path):
    write_history_csv(tmp_path / "history.csv", HISTORY)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert rows[0]["training.info_nce/loss"] == ""
    assert float(rows[2]["training.info_nce/loss"]) == HISTORY[2].training["info_nce/loss"]
    assert float(rows[3]["validation.category"]) == HISTORY[3].validation["category"]


def test_loss_plots_show_every_loss_and_every_validation_mode():
    figure = plot_losses(HISTORY)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert set(panels) == {"info_nce", "total", "validation MRR", "effective rank"}
    assert np.asarray(panels["info_nce"].lines[0].get_ydata()).tolist() == [1.5, 1.0, 0.75]
    assert {line.get_label() for line in panels["validation MRR"].lines} == {"none", "category"}


def test_the_steering_plot_stacks_the_shares_of_all_kinds():
    (axes,) = plot_steering(HISTORY).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["none", "category"]
    outline = np.asarray(axes.collections[1].get_paths()[0].vertices)
    assert (outline[:, 1].min(), outline[:, 1].max()) == pytest.approx((0.25, 1.0))


def test_nothing_to_plot_is_refused():
    with pytest.raises(ValueError, match="no epochs"):
        plot_losses([])
    with pytest.raises(ValueError, match="no training epochs"):
        plot_steering(HISTORY[:1])


def test_an_untrained_history_can_be_plotted():
    assert len(plot_losses(HISTORY[:1]).axes) == 2


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY[:1])

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_history(path, HISTORY)
    assert read_history(path) == HISTORY[:1]
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
