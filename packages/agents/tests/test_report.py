from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from sightline.agents.evaluation.intervals import Interval
from sightline.agents.plots import bars_with_intervals, learning_curves, recall_curves, success_against_tokens
from sightline.agents.report import Section, render_report, save_figure
from sightline.agents.tables import Table

TABLE = Table(("agent", "success"), (("react", "40 %"), ("a|b", "50 %")), caption="On 10 goals.")


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low, high, 0.95, "goals")


def points(axes: Axes) -> list[list[float]]:
    return np.asarray(axes.lines[0].get_xydata()).tolist()


def test_page_text_is_shown_and_never_run() -> None:
    hostile = "<script>alert(1)</script>"
    table = Table((hostile,), ((hostile,),), hostile)
    section = Section(hostile, (hostile,), (table,), texts={hostile: hostile}, links={hostile: hostile})
    page = render_report(hostile, hostile, [section], hostile)
    assert "<script" not in page
    shown = page.count("&lt;script&gt;alert(1)&lt;/script&gt;")
    # Title twice, claim, heading, paragraph, three of the table, name and text, name and address of the link, footer.
    assert shown == 13


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", " JavaScript:x", "https://a.example", "//a.example", "/etc"]
)
def test_links_lead_only_to_files_beside_the_page(address: str) -> None:
    with pytest.raises(ValueError, match="give a relative address"):
        render_report("title", "claim", [Section("episodes", links={"all": address})], "footer")
    page = render_report("title", "claim", [Section("episodes", links={"all": "stages/7/episodes.jsonl"})], "footer")
    assert '<a href="stages/7/episodes.jsonl">all</a>' in page


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


def test_the_page_embeds_its_figures_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    bars = bars_with_intervals({"react": interval(0.4, 0.3, 0.5)}, "success, %")
    figures = tuple(save_figure(bars, tmp_path / name) for name in ("bars.png", "bars.svg"))
    page = render_report("title", "claim", [Section("figures", figures=figures)], "footer")
    embedded = re.findall(r'src="data:image/(png|svg\+xml);base64,([^"]+)"', page)
    assert [base64.b64decode(data) for _, data in embedded] == [figure.read_bytes() for figure in figures]
    assert "http" not in page


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


def test_recall_is_drawn_in_order_of_k() -> None:
    curve = {5: interval(0.9, 0.8, 1.0), 1: interval(0.5, 0.4, 0.6)}
    (axes,) = recall_curves({"rag": curve}).axes
    assert points(axes) == [[1, 50], [5, 90]]


def test_learning_curves_count_epochs_from_one() -> None:
    (axes,) = learning_curves({"model_acc": [0.2, 0.6]}, "accuracy").axes
    assert points(axes) == [[1, 0.2], [2, 0.6]]


def test_bars_stand_in_the_given_order_from_the_top() -> None:
    values = {"first": interval(0.4, 0.3, 0.5), "second": interval(0.6, 0.5, 0.7)}
    (axes,) = bars_with_intervals(values, "success, %").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()
    assert [round(bar.get_extents().transformed(axes.transData.inverted()).width) for bar in axes.patches] == [40, 60]
