from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lab.figures import (
    bars_with_intervals,
    differences_with_intervals,
    in_style,
    learning_curves,
    one_panel,
    save_figure,
)
from lab.palette import COLOURS
from sightline.agents.evaluation import Interval


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low, high, 0.95, "goals")


def points(figure: Figure) -> list[list[float]]:
    (axes,) = figure.axes
    return np.asarray(axes.lines[0].get_xydata()).tolist()


def test_what_is_no_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'a\.pdf' is no figure that a page can show; use \.svg or \.png"):
        save_figure(bars_with_intervals({}, "success"), tmp_path / "a.pdf")


def test_a_drawing_takes_the_colour_of_text_and_is_the_same_every_time(tmp_path: Path) -> None:
    values = {"<b>": interval(0.4, 0.3, 0.5)}
    first, second = (
        save_figure(bars_with_intervals(values, "success, %"), tmp_path / name) for name in ("a.svg", "b.svg")
    )
    assert first.read_bytes() == second.read_bytes()
    drawing = first.read_text()
    ElementTree.fromstring(drawing)  # still well-formed, whatever an agent is called
    assert "prefers-color-scheme: dark" in drawing
    assert "currentColor" in drawing
    assert "#000000" not in drawing


def test_learning_curves_count_epochs_from_one() -> None:
    assert points(learning_curves({"model_acc": [0.2, 0.6]}, "accuracy")) == [[1, 0.2], [2, 0.6]]


def test_bars_stand_in_the_given_order_from_the_top() -> None:
    values = {"first": interval(0.4, 0.3, 0.5), "second": interval(0.6, 0.5, 0.7)}
    (axes,) = bars_with_intervals(values, "success, %").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()
    assert [round(bar.get_extents().transformed(axes.transData.inverted()).width) for bar in axes.patches] == [40, 60]


def test_a_figure_has_the_style_and_leaves_no_trace_of_it() -> None:
    before = dict(mpl.rcParams)

    @in_style
    def lines() -> Figure:
        figure, axes = one_panel()
        for _ in range(len(COLOURS) + 1):
            axes.plot([0, 1])
        return figure

    (axes,) = lines().axes
    assert [line.get_color() for line in axes.lines] == [*COLOURS, COLOURS[0]]
    assert not axes.spines["top"].get_visible()
    assert all(line.get_visible() for line in axes.get_xgridlines())
    assert dict(mpl.rcParams) == before


def test_differences_are_points_between_the_ends_of_their_intervals_with_a_line_at_zero() -> None:
    figure = differences_with_intervals(
        {"random": interval(2.0, 1.0, 4.0), "rule": interval(-1.0, -1.5, 0.5)}, "points"
    )
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "rule"]
    assert axes.yaxis_inverted()
    places = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert [[2.0, 0.0]] in places
    assert [[-1.0, 1.0]] in places
    assert [[0, 0], [0, 1]] in places
    bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
    assert [np.asarray(bar.get_segments()[0]).tolist() for bar in bars] == [[[1, 0], [4, 0]], [[-1.5, 1], [0.5, 1]]]
