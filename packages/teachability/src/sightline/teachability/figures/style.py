"""What all figures share. Knows nothing of hypotheses."""

from __future__ import annotations

from typing import Any

from sightline.teachability.records import Quadrant

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("figures need an extra: pip install 'sightline-teachability[plots]'") from error

COLOURS: dict[Quadrant, str] = {
    "Q1": "#0072b2",
    "Q2": "#e69f00",
    "Q3": "#999999",
    "Q4": "#d55e00",
    "undecided": "#cccccc",
}
"""Colours that people with colour-blindness tell apart (Okabe and Ito)."""

NAMES: dict[Quadrant, str] = {
    "Q1": "Q1 unsure, fixable",
    "Q2": "Q2 unsure, stuck",
    "Q3": "Q3 confident, stuck",
    "Q4": "Q4 confident, wrong",
    "undecided": "undecided",
}


def new_figure(columns: int = 1, *, width: float = 5.5, height: float = 4.0) -> tuple[Figure, list[Any]]:
    """Return a figure with so many axes side by side, without the frame's upper and right sides."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def heat(axes: Any, values: Any, rows: list[str], columns: list[str], *, unit: str) -> None:
    """Draw a table as colours around 0 with its numbers; empty cells are grey."""
    import numpy as np

    table = np.asarray(values, dtype=np.float64)
    known = table[~np.isnan(table)]
    limit = float(np.abs(known).max()) if len(known) else 1.0
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(table, cmap="RdBu", vmin=-(limit or 1.0), vmax=limit or 1.0, aspect="auto")
    for row in range(len(rows)):
        for column in range(len(columns)):
            value = table[row, column]
            text = "empty" if np.isnan(value) else f"{value:+.3f}"
            dark = abs(value) > 0.6 * limit  # False for an empty cell
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.figure.colorbar(image, ax=axes, label=unit)
