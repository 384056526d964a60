from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from lab.figures import bars_with_intervals, save_figure
from lab.report import SMOKE_NOTICE, Report, Section, render_markdown, render_page
from sightline.agents import Table
from sightline.agents.evaluation import Interval


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low, high, 0.95, "goals")


def page(*sections: Section) -> str:
    return render_page(Report("title", ["claim"], [], sections), "footer")


def test_page_text_is_shown_and_never_run() -> None:
    hostile = "<script>alert(1)</script>"
    table = Table((hostile,), ((hostile,),), hostile)
    section = Section(hostile, (hostile,), (table,), texts={hostile: hostile}, links={hostile: hostile})
    shown_page = render_page(Report(hostile, [hostile], [], [section]), hostile)
    assert "<script" not in shown_page
    shown = shown_page.count("&lt;script&gt;alert(1)&lt;/script&gt;")
    # Title twice, claim, heading, paragraph, three of the table, name and text, name and address of the link, footer.
    assert shown == 13


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", " JavaScript:x", "https://a.example", "//a.example", "/etc"]
)
def test_links_lead_only_to_files_beside_the_page(address: str) -> None:
    with pytest.raises(ValueError, match="give a relative address"):
        page(Section("episodes", links={"all": address}))
    assert '<a href="stages/7/episodes.jsonl">all</a>' in page(
        Section("episodes", links={"all": "stages/7/episodes.jsonl"})
    )


def test_the_page_embeds_its_figures_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    bars = bars_with_intervals({"react": interval(0.4, 0.3, 0.5)}, "success, %")
    figures = tuple(save_figure(bars, tmp_path / name) for name in ("bars.png", "bars.svg"))
    shown = page(Section("figures", figures=figures))
    embedded = re.findall(r'src="data:image/(png|svg\+xml);base64,([^"]+)"', shown)
    assert [base64.b64decode(data) for _, data in embedded] == [figure.read_bytes() for figure in figures]
    assert "http" not in shown


def test_the_page_of_a_smoke_run_says_so_above_everything_else_and_no_other_does() -> None:
    report = Report("title", ["claim"], [Table(("a",), (("b",),))], [Section("heading")])
    smoke, full = (render_page(report, "footer", smoke=smoke) for smoke in (True, False))
    assert smoke.index(SMOKE_NOTICE) < smoke.index(">claim<")
    assert "smoke run" not in full
    assert render_markdown(report, smoke=True) == f"{SMOKE_NOTICE}\n\n{render_markdown(report)}"
    assert render_markdown(report) == "| a |\n| --- |\n| b |\n"


def test_a_folded_section_shows_its_heading_until_it_is_opened() -> None:
    shown = page(Section("first"), Section("more <b>", ("inside",), folded=True), Section("last"))
    assert "<h2>first</h2>" in shown
    assert shown.index("<details><summary>more &lt;b&gt;</summary>") < shown.index("<p>inside</p>")
    assert shown.index("<p>inside</p>") < shown.index("</details>") < shown.index("<h2>last</h2>")
    assert shown.count("<details>") == shown.count("</details>") == 1


def test_pages_and_figures_take_their_colours_from_one_palette() -> None:
    assert "--ink: #1c2126" in page()
    assert "--accent: #5cc9c0" in page()
