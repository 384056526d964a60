from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from experiments.shopping.plots import recall_curves, success_against_tokens, success_curves
from sightline.agents.evaluation import Interval


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low, high, 0.95, "goals")


def points(axes: Axes) -> list[list[float]]:
    return np.asarray(axes.lines[0].get_xydata()).tolist()


def test_success_is_drawn_in_percent_over_tokens_with_both_intervals() -> None:
    figure = success_against_tokens({"react": (interval(1000, 900, 1200), interval(0.5, 0.25, 0.75))})
    (axes,) = figure.axes
    assert points(axes) == [[1000, 50]]
    bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
    ends = [np.asarray(segment).tolist() for bar in bars for segment in bar.get_segments()]
    assert ends == [[[900, 50], [1200, 50]], [[1000, 25], [1000, 75]]]


def test_a_step_joins_the_agents_on_the_frontier() -> None:
    agents = {
        name: (interval(x, x, x), interval(y, y, y)) for name, x, y in (("a", 10, 0.2), ("b", 30, 0.5), ("c", 40, 0.4))
    }
    (axes,) = success_against_tokens(agents, ["a", "b"]).axes
    (line,) = [line for line in axes.lines if line.get_label() == "Pareto frontier"]
    assert np.asarray(line.get_xydata()).tolist() == [[10, 20], [30, 50]]
    assert line.get_drawstyle() == "steps-post"


def test_what_a_method_reaches_is_a_curve_in_the_order_of_its_tokens() -> None:
    found = [(interval(x, x, x), interval(y, y - 0.1, y + 0.1)) for x, y in ((300, 0.6), (100, 0.2))]
    (axes,) = success_curves({"rag": found}).axes
    assert points(axes) == [[100, 20], [300, 60]]
    (bars,) = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
    ends = [np.asarray(segment).round(6).tolist() for segment in bars.get_segments()]
    assert ends == [[[100, 10], [100, 30]], [[300, 50], [300, 70]]]


def test_recall_is_drawn_in_order_of_k() -> None:
    curve = {5: interval(0.9, 0.8, 1.0), 1: interval(0.5, 0.4, 0.6)}
    (axes,) = recall_curves({"rag": curve}).axes
    assert points(axes) == [[1, 50], [5, 90]]
