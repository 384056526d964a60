"""Figures of the experiments on puzzles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from experiments.reasoning.puzzles.trials import TrialResult
from lab.figures import count_along_x, in_style, legend_beside, one_panel
from lab.palette import COLOURS
from sightline.agents.evaluation import Interval


@in_style
def rates_by_step(curves: Mapping[str, Sequence[TrialResult]]) -> Figure:
    """Draw the share of test puzzles solved after each segment: a line for each K of training, which a dot marks."""
    figure, axes = one_panel()
    for name, results in curves.items():
        rates = np.array([result.report.puzzles.exact_by_step for result in results if result.report.puzzles])
        line = axes.plot(np.arange(1, rates.shape[1] + 1), rates.mean(axis=0), label=name)[0]
        trained = rates.shape[1] // 2
        axes.plot(trained, rates.mean(axis=0)[trained - 1], marker="o", color=line.get_color())
    count_along_x(axes, "segments at test time")
    _share(axes, "test puzzles solved")
    legend_beside(axes)
    return figure


@in_style
def rates_by_minute(methods: Mapping[str, Sequence[TrialResult]]) -> Figure:
    """Draw the share of validation puzzles solved against CPU minutes of training: a line for each training."""
    figure, axes = one_panel()
    for place, (name, results) in enumerate(methods.items()):
        for index, result in enumerate(results):
            seconds, _, rates = zip(*result.curve, strict=True)
            axes.plot(
                np.array([0.0, *seconds]) / 60,
                [0.0, *rates],
                color=COLOURS[place % len(COLOURS)],
                label=None if index else name,
            )
    axes.set_xlabel("CPU minutes of training")
    _share(axes, "validation puzzles solved")
    legend_beside(axes)
    return figure


@in_style
def differences(values: Mapping[str, Interval], label: str) -> Figure:
    """Draw differences with their intervals, one per name, from top to bottom.

    Args:
        values: name -> difference of two rates.
        label: label of the axis.
    """
    figure, axes = one_panel(height=1.0 + 0.34 * len(values))
    for row, value in enumerate(values.values()):
        whiskers = [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]
        axes.errorbar(100 * value.value, row, xerr=whiskers, fmt="o", color=COLOURS[0], capsize=3)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return figure


@in_style
def solved_by_nodes(nodes: Mapping[str, NDArray[np.float64]], budgets: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw the share of puzzles solved against the nodes looked at.

    Args:
        nodes: method -> nodes each puzzle took, [puzzles], infinite where it was not solved.
        budgets: method -> nodes allowed -> share solved.
    """
    figure, axes = one_panel()
    highest = max(values[np.isfinite(values)].max(initial=1) for values in nodes.values())
    for name, values in nodes.items():
        at = np.concatenate([np.sort(values[np.isfinite(values)]), [highest]])
        shares = np.minimum(np.arange(1, len(at) + 1), len(at) - 1) / len(values)
        axes.step(np.maximum(at, 1), shares, where="post", label=name)
    for name, shares in budgets.items():
        axes.plot(list(shares), list(shares.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("nodes")
    _share(axes, "puzzles solved")
    legend_beside(axes)
    return figure


def _share(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel(label)
