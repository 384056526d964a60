"""Figures of the experiment with steered predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lab.figures import in_style, one_panel
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
