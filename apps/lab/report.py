"""One self-contained HTML page from an experiment's figures, tables and sentences.

Everything that is shown is escaped by the template engine; figures are embedded, so the page works without a network.
This module knows nothing of what was measured.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader

from lab.palette import DARK, LIGHT
from sightline.agents import Table

SMOKE_NOTICE: Final = "A smoke run: it shows that everything runs, on little data after little training, not who wins."
"""What every page of a smoke run says."""


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of the report and what stands below it, shown in this order."""

    heading: str
    """Text of the heading."""
    paragraphs: tuple[str, ...] = ()
    """Sentences."""
    tables: tuple[Table, ...] = ()
    """Numbers and short texts."""
    figures: tuple[Path, ...] = ()
    """SVG or PNG files."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name -> pre-formatted text, for example a command."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Name -> address relative to the page, for example `stages/1/episodes.jsonl`."""
    minor: bool = False
    """Whether it belongs to the section before it."""
    folded: bool = False
    """Whether its heading alone is shown until a reader opens it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an experiment tells of itself."""

    title: str
    """Question that the experiment asks."""
    claims: Sequence[str]
    """Answers in sentences with their intervals, the most important first."""
    tables: Sequence[Table]
    """Tables of `results.md`."""
    sections: Sequence[Section]
    """Sections of the page."""


_MEDIA_TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}
_LONG_CELL: Final = 60
"""Characters from which on a cell may wrap."""


def render_page(report: Report, footer: str, *, smoke: bool = False) -> str:
    """Render the page of a report; its first claim stands on top.

    Args:
        report: what to show; figures are SVG or PNG files, read and embedded here.
        footer: how the run was made.
        smoke: whether to say that it was a smoke run.

    Raises:
        ValueError: a link is not relative to the page, or a figure has another format.
    """
    shown = [
        {
            "heading": section.heading,
            "minor": section.minor,
            "folded": section.folded,
            "paragraphs": section.paragraphs,
            "tables": section.tables,
            "figures": [_embedded(path) for path in section.figures],
            "texts": list(section.texts.items()),
            "links": [(name, _relative(address)) for name, address in section.links.items()],
        }
        for section in report.sections
    ]
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return templates.get_template("report.html.jinja").render(
        title=report.title,
        claim=report.claims[0],
        notice=SMOKE_NOTICE if smoke else "",
        sections=shown,
        footer=footer,
        long=_LONG_CELL,
        light=LIGHT,
        dark=DARK,
    )


def render_markdown(report: Report, *, smoke: bool = False) -> str:
    """Return the tables of a report in Markdown, below the notice of a smoke run where it is one."""
    return "\n".join([*([SMOKE_NOTICE + "\n"] if smoke else []), *(table.markdown() for table in report.tables)])


def media_type(path: Path) -> str:
    """Return the media type of a figure's file.

    Raises:
        ValueError: it is neither SVG nor PNG.
    """
    if path.suffix not in _MEDIA_TYPES:
        raise ValueError(f"{path.name!r} is no figure that a page can show; use {' or '.join(_MEDIA_TYPES)}")
    return _MEDIA_TYPES[path.suffix]


def _embedded(path: Path) -> dict[str, str | bool]:
    kind = media_type(path)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return {
        "name": path.stem.replace("_", " "),
        "address": f"data:{kind};base64,{data}",
        "bright": kind == "image/png",
    }


def _relative(address: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:|[/\\]", address.strip(), re.IGNORECASE):
        raise ValueError(f"links lead to files beside the page, not to {address[:80]!r}; give a relative address")
    return address
