"""One self-contained HTML page from an experiment's figures, tables and sentences.

Everything that is shown is escaped by the template engine; figures are embedded, so the page works without a network.
This module knows nothing of what was measured.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.retrieval.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of short texts under column headings; numbers are formatted by the caller.

    Attributes:
        columns: headings.
        rows: as many cells per row as there are columns.
        caption: what the table shows and how its intervals were made.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of the report with its paragraphs, tables, figures and pre-formatted texts, shown in that order."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Path, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


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
  img { filter: invert(.92) hue-rotate(180deg); }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       padding: 2rem 1.25rem 4rem; max-width: 76rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
.claim { background: var(--card); border-left: 4px solid var(--accent); padding: .9rem 1.1rem; font-size: 1.08rem;
         margin: 0 0 1rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .85rem; padding-top: .4rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
img { max-width: 100%; height: auto; border-radius: 4px; margin: .6rem 0; }
pre { background: var(--card); padding: .8rem 1rem; overflow-x: auto; font-size: .82rem; white-space: pre-wrap; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="claim">{{ claim }}</p>
{% for section in sections %}
<h2>{{ section.heading }}</h2>
{% for paragraph in section.paragraphs %}<p>{{ paragraph }}</p>
{% endfor %}
{% for table in section.tables %}
<div class="scroll"><table>
{% if table.caption %}<caption>{{ table.caption }}</caption>{% endif %}
<thead><tr>{% for cell in table.columns %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endfor %}
{% for name, data in section.figures %}<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{% endfor %}
{% for name, text in section.texts %}<p>{{ name }}</p><pre>{{ text }}</pre>
{% endfor %}
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
        sections: shown in order; figures are PNG files, read and embedded here.
        footer: how the run was made.

    Raises:
        ImportError: jinja2 is missing; the message says how to install it.
    """
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise ImportError("reports need jinja2: pip install 'sightline-agents[report]'") from error
    shown = [
        {
            "heading": section.heading,
            "paragraphs": section.paragraphs,
            "tables": section.tables,
            "figures": [(path.stem, base64.b64encode(path.read_bytes()).decode("ascii")) for path in section.figures],
            "texts": list(section.texts.items()),
        }
        for section in sections
    ]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_TEMPLATE)
    return template.render(title=title, claim=claim, sections=shown, footer=footer)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a matplotlib figure as PNG (at 150 dots per inch), atomically; returns the path."""
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
    return path
