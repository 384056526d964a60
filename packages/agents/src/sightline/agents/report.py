"""One self-contained HTML page from an experiment's figures, tables and sentences.

Everything that is shown is escaped by the template engine; figures are embedded, so the page works without a network.
This module knows nothing of what was measured.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.agents.tables import Table
from sightline.retrieval.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of the report and what stands below it, shown in this order.

    Attributes:
        heading: of the section.
        paragraphs: sentences.
        figures: SVG or PNG files.
        tables: of numbers and short texts.
        texts: name -> pre-formatted text, for example a command.
        links: name -> address relative to the page, for example `stages/1/episodes.jsonl`.
        minor: whether it belongs to the section before it.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Path, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    minor: bool = False


_MEDIA_TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}
_LONG_CELL: Final = 60
"""Characters from which on a cell may wrap."""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6670; --line: #d9dee3; --paper: #fff; --card: #f4f6f8;
        --accent: #0b6e6e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa5af; --line: #343b42; --paper: #15191d; --card: #1f252b; --accent: #5cc9c0; }
  img.bright { background: #fff; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       padding: 2rem 1.25rem 4rem; max-width: 76rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .3rem; }
p, ul { max-width: 52rem; }
a { color: var(--accent); }
.claim { background: var(--card); border-left: 4px solid var(--accent); padding: .9rem 1.1rem; font-size: 1.08rem;
         margin: 0 0 1rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .85rem; padding-top: .4rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap;
         vertical-align: top; }
td.long { white-space: pre-line; min-width: 22rem; overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--soft); }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; margin: .6rem 0; }
pre { background: var(--card); padding: .8rem 1rem; overflow-x: auto; font-size: .82rem; white-space: pre-wrap; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="claim">{{ claim }}</p>
{% for section in sections %}
{% if section.minor %}<h3>{{ section.heading }}</h3>{% else %}<h2>{{ section.heading }}</h2>{% endif %}

{% for paragraph in section.paragraphs %}<p>{{ paragraph }}</p>
{% endfor %}
{% for figure in section.figures %}
<img alt="{{ figure.name }}" {% if figure.bright %}class="bright" {% endif %}src="{{ figure.address }}">
{% endfor %}
{% for table in section.tables %}
<div class="scroll"><table>
{% if table.caption %}<caption>{{ table.caption }}</caption>{% endif %}
<thead><tr>{% for cell in table.columns %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>
{%- for cell in row %}<td{% if cell|length > long %} class="long"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endfor %}
{% for name, text in section.texts %}<p>{{ name }}</p><pre>{{ text }}</pre>
{% endfor %}
{% if section.links %}
<ul>
{% for name, address in section.links %}<li><a href="{{ address }}">{{ name }}</a></li>
{% endfor %}
</ul>
{% endif %}
{% endfor %}
<footer>{{ footer }}</footer>
</body>
</html>
"""


def render_report(title: str, claim: str, sections: Sequence[Section], footer: str) -> str:
    """Render the page.

    Args:
        title: heading of the page.
        claim: the experiment's answer in one or two sentences, with its interval.
        sections: shown in order; figures are SVG or PNG files, read and embedded here.
        footer: how the run was made.

    Raises:
        ImportError: jinja2 is missing; the message says how to install it.
        ValueError: a link is not relative to the page, or a figure has another format.
    """
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise ImportError("reports need jinja2: pip install 'sightline-agents[report]'") from error
    shown = [
        {
            "heading": section.heading,
            "minor": section.minor,
            "paragraphs": section.paragraphs,
            "tables": section.tables,
            "figures": [_embedded(path) for path in section.figures],
            "texts": list(section.texts.items()),
            "links": [(name, _relative(address)) for name, address in section.links.items()],
        }
        for section in sections
    ]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_TEMPLATE)
    return template.render(title=title, claim=claim, sections=shown, footer=footer, long=_LONG_CELL)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a matplotlib figure atomically, as PNG (at 150 dots per inch) or SVG by the path's suffix.

    In an SVG what is drawn in black takes the colour of text on the reader's background, light or dark, and the
    background shows through. The same figure always gives the same bytes.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is neither.
    """
    if _media_type(path) == "image/png":
        with atomic_file(path) as file:
            figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
        return path
    from matplotlib import rc_context

    drawing = io.StringIO()
    with rc_context({"svg.hashsalt": "sightline"}):
        figure.savefig(drawing, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    with atomic_file(path) as file:
        file.write(_adapt_to_background(drawing.getvalue()).encode())
    return path


def _adapt_to_background(svg: str) -> str:
    # Matplotlib leaves black fills out, and the browser's initial fill, black, would stay black on dark paper.
    style = (
        "<style>svg { color: #1c2126; fill: currentColor }"
        " @media (prefers-color-scheme: dark) { svg { color: #e6e9ec } }</style>"
    )
    coloured = re.sub(r"(fill|stroke): #000000", r"\1: currentColor", svg)
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + style, coloured, count=1)


def _embedded(path: Path) -> dict[str, str | bool]:
    media_type = _media_type(path)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return {
        "name": path.stem.replace("_", " "),
        "address": f"data:{media_type};base64,{data}",
        "bright": media_type == "image/png",
    }


def _media_type(path: Path) -> str:
    if path.suffix not in _MEDIA_TYPES:
        raise ValueError(f"{path.name!r} is no figure that a page can show; use {' or '.join(_MEDIA_TYPES)}")
    return _MEDIA_TYPES[path.suffix]


def _relative(address: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:|[/\\]", address.strip(), re.IGNORECASE):
        raise ValueError(f"links lead to files beside the page, not to {address[:80]!r}; give a relative address")
    return address
