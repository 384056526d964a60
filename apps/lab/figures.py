"""Figures in one style, drawn from saved numbers with matplotlib, and the charts that several experiments show.

A function that draws is decorated with `in_style`, returns a `matplotlib.figure.Figure` and changes no global state.
What is drawn in black takes the colour of text on the reader's background.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.palette import COLOURS, DARK, LIGHT
from lab.report import media_type
from sightline.agents.evaluation import Interval
from sightline.retrieval.files import atomic_file

P = ParamSpec("P")

_STYLE: Final = Path(__file__).with_name("lab.mplstyle")


@contextmanager
def _style() -> Generator[None]:
    with mpl.rc_context(fname=_STYLE), mpl.rc_context({"axes.prop_cycle": cycler(color=COLOURS)}):
        yield


def in_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Return the function with all that it draws in the style of `lab.mplstyle`."""

    @wraps(draw)
    def drawn(*arguments: P.args, **named: P.kwargs) -> Figure:
        with _style():
            return draw(*arguments, **named)

    return drawn


def one_panel(width: float = 7.2, height: float = 4.2) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, and its axes."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def legend_beside(axes: Axes) -> None:
    """Put the legend to the right of the axes."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def count_along_x(axes: Axes, label: str) -> None:
    """Label the horizontal axis, with whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(label)


@in_style
def bars_with_intervals(values: Mapping[str, Interval], label: str) -> Figure:
    """Draw horizontal bars, one per name, in the given order from top to bottom.

    Args:
        values: name -> rate between 0 and 1.
        label: label of the axis.
    """
    figure, axes = one_panel(height=1.0 + 0.34 * len(values))
    for row, value in enumerate(values.values()):
        whiskers = [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]
        axes.barh(row, 100 * value.value, color=COLOURS[0], alpha=0.85, height=0.62)
        axes.errorbar(100 * value.value, row, xerr=whiskers, fmt="none", ecolor="black", capsize=3)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(label)
    return figure


@in_style
def differences_with_intervals(differences: Mapping[str, Interval], label: str) -> Figure:
    """Draw differences as points with whiskers, in the given order from top to bottom, and zero as a line.

    Args:
        differences: name -> difference, in the unit of the axis.
        label: label of the axis.
    """
    figure, axes = one_panel(height=1.0 + 0.34 * len(differences))
    for row, difference in enumerate(differences.values()):
        whiskers = [[difference.value - difference.low], [difference.high - difference.value]]
        axes.errorbar(difference.value, row, xerr=whiskers, fmt="o", color=COLOURS[0], capsize=3)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(differences)), list(differences))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return figure


@in_style
def learning_curves(curves: Mapping[str, Sequence[float]], ylabel: str) -> Figure:
    """Draw one line per name over epochs, counted from 1."""
    figure, axes = one_panel(height=3.6)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
    count_along_x(axes, "epoch")
    axes.set_ylabel(ylabel)
    axes.legend()
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure atomically, as PNG or SVG by the path's suffix.

    In an SVG what is drawn in black takes the colour of text on the reader's background, light or dark, and the
    background shows through. The same figure always gives the same bytes.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is neither.
    """
    if media_type(path) == "image/png":
        with _style(), atomic_file(path) as file:
            figure.savefig(file, format="png")
        return path
    drawing = io.StringIO()
    with _style():
        figure.savefig(drawing, format="svg", transparent=True, metadata={"Date": None})
    with atomic_file(path) as file:
        file.write(_adapt_to_background(drawing.getvalue()).encode())
    return path


def _adapt_to_background(svg: str) -> str:
    # Matplotlib leaves black fills out, and the browser's initial fill, black, would stay black on dark paper.
    style = (
        f"<style>svg {{ color: {LIGHT.ink}; fill: currentColor }}"
        f" @media (prefers-color-scheme: dark) {{ svg {{ color: {DARK.ink} }} }}</style>"
    )
    coloured = re.sub(r"(fill|stroke): #000000", r"\1: currentColor", svg)
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + style, coloured, count=1)
