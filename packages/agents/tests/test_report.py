from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from sightline.agents.plots import bars_with_intervals, learning_curves, recall_curves, success_against_tokens
from sightline.agents.report import Section, Table, render_report, save_figure
from sightline.agents.statistics import Interval

TABLE = Table(("agent", "success"), (("react", "40 %"), ("a|b", "50 %")), caption="On 10 goals.")


def points(axes: Axes) -> list[list[float]]:
    return np.asarray(axes.lines[0].get_xydata()).tolist()


def test_a_table_becomes_markdown_with_its_bars_escaped() -> None:
    assert TABLE.markdown() == "| agent | success |\n| --- | --- |\n| react | 40 % |\n| a\\|b | 50 % |\n"


def test_page_text_is_shown_and_never_run() -> None:
    hostile = "<script>alert(1)</script>"
    section = Section(hostile, (hostile,), (Table((hostile,), ((hostile,),), hostile),), texts={hostile: hostile})
    page = render_report(hostile, hostile, [section], hostile)
    assert "<script" not in page
    shown = page.count("&lt;script&gt;alert(1)&lt;/script&gt;")
    assert shown == 11  # title twice, claim, heading, paragraph, three of the table, name and text, footer


def test_the_page_embeds_its_figures_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    figure = save_figure(bars_with_intervals({"react": Interval(0.4, 0.3, 0.5)}, "success, %"), tmp_path / "bars.png")
    page = render_report("title", "claim", [Section("figures", figures=(figure,))], "footer")
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(data) == figure.read_bytes()
    assert "http" not in page


def test_success_is_drawn_in_percent_over_tokens_with_both_intervals() -> None:
    figure = success_against_tokens({"react": (Interval(1000, 900, 1200), Interval(0.5, 0.25, 0.75))})
    (axes,) = figure.axes
    assert points(axes) == [[1000, 50]]
    bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
    ends = [np.asarray(segment).tolist() for bar in bars for segment in bar.get_segments()]
    assert ends == [[[900, 50], [1200, 50]], [[1000, 25], [1000, 75]]]


def test_recall_is_drawn_in_order_of_k() -> None:
    curve = {5: Interval(0.9, 0.8, 1.0), 1: Interval(0.5, 0.4, 0.6)}
    (axes,) = recall_curves({"rag": curve}).axes
    assert points(axes) == [[1, 50], [5, 90]]


def test_learning_curves_count_epochs_from_one() -> None:
    (axes,) = learning_curves({"model_acc": [0.2, 0.6]}, "accuracy").axes
    assert points(axes) == [[1, 0.2], [2, 0.6]]


def test_bars_stand_in_the_given_order_from_the_top() -> None:
    values = {"first": Interval(0.4, 0.3, 0.5), "second": Interval(0.6, 0.5, 0.7)}
    (axes,) = bars_with_intervals(values, "success, %").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()
    assert [round(bar.get_extents().transformed(axes.transData.inverted()).width) for bar in axes.patches] == [40, 60]
