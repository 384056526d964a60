"""Figures of the experiment with steered predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lab.figures import in_style, legend_beside, one_panel
from lab.palette import COLOURS


@in_style
def steering_strength_curve(strengths: Sequence[float], curves: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Draw the share of the first ten results from the subspace steered to, and MRR, over the strength.

    Args:
        strengths: steering strengths; 1 is as trained.
        curves: "true" and "changed" steering -> "share" and "mrr" -> a value between 0 and 1 for each setting.
    """
    figure = Figure(figsize=(8.6, 3.4))
    labels = {"share": "share of top 10 from the steered subspace", "mrr": "MRR"}
    for axes, (key, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for which in ("true", "changed"):
            axes.plot(strengths, curves[which][key], marker="o", label=f"{which} steering")
        axes.axvline(1.0, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xlabel("steering strength")
        axes.set_ylabel(label)
        axes.set_ylim(0, 1)
    figure.axes[0].legend()
    return figure


@in_style
def steering_quality(
    curves: Mapping[str, Mapping[str, Sequence[float]]], modes: Mapping[str, Sequence[str]], shown: Sequence[str]
) -> Figure:
    """Draw MRR over the quality of steering, one panel for each data set and one line for each method.

    The best method under each kind of steering has a star; methods that are not named in the legend are grey.

    Args:
        curves: data set -> method -> MRR under each mode, NaN where it has none.
        modes: data set -> labels of the modes, from the poorest steering to the best.
        shown: methods to name and colour.
    """
    figure = Figure(figsize=(4.2 * len(curves) + 2.0, 4.2), layout="constrained")
    for axes, (data, of_method) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
        places = np.arange(len(modes[data]))
        for method, values in of_method.items():
            if method not in shown:
                axes.plot(places, values, marker=".", color="grey", linewidth=0.7, alpha=0.5)
        for method, colour in zip(shown, cycle(COLOURS)):
            if method in of_method:
                axes.plot(places, of_method[method], marker="o", color=colour, label=method)
        best = np.nanmax(np.array(list(of_method.values()), dtype=np.float64), axis=0)
        axes.plot(places, best, marker="*", markersize=13, linestyle="none", color=COLOURS[4], label="best", zorder=5)
        axes.set_xticks(places, [label.replace(" (", "\n(") for label in modes[data]])
        axes.set_title(data, fontsize="medium")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("MRR")
    legend_beside(figure.axes[-1])
    return figure


@in_style
def reliability_diagram(by_seed: Sequence[tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Draw the observed against the stated frequency of right first results, one line per training seed.

    Args:
        by_seed: stated and observed of the bins, each between 0 and 1.
    """
    figure, axes = one_panel(4.4, 4.0)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    for stated, observed in by_seed:
        axes.plot(stated, observed, marker=".", color=COLOURS[0], alpha=0.6)
    axes.set_xlabel("stated probability that the first result is right")
    axes.set_ylabel("observed share")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return figure
