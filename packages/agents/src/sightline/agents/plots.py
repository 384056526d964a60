"""The figures of an experiment, drawn from saved numbers with matplotlib (extra ``report``).

Each function returns a `matplotlib.figure.Figure` and touches no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightline.agents.statistics import Interval

_ACCENTS = ("#0b6e6e", "#c8553d", "#3d5a80", "#8a5a9e", "#b8860b", "#5b6670", "#2f855a", "#a02c5a")


def _figure(width: float = 7.2, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def success_against_tokens(agents: Mapping[str, tuple[Interval, Interval]]) -> Figure:
    """Success rate over prompt tokens per episode, with both intervals.

    Args:
        agents: name -> (prompt tokens per episode, success rate between 0 and 1).
    """
    figure, axes = _figure()
    for position, (name, (tokens, success)) in enumerate(agents.items()):
        axes.errorbar(
            tokens.mean,
            100 * success.mean,
            xerr=[[tokens.mean - tokens.low], [tokens.high - tokens.mean]],
            yerr=[[100 * (success.mean - success.low)], [100 * (success.high - success.mean)]],
            fmt="o",
            capsize=3,
            color=_ACCENTS[position % len(_ACCENTS)],
            label=name,
        )
    axes.set_xlim(left=0)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("prompt tokens per episode")
    axes.set_ylabel("success, % of held-out goals")
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def recall_curves(methods: Mapping[str, Mapping[int, Interval]]) -> Figure:
    """Recall@k of the expert's chunk over k.

    Args:
        methods: name -> {k: recall between 0 and 1}.
    """
    figure, axes = _figure()
    for position, (name, curve) in enumerate(methods.items()):
        ks = sorted(curve)
        color = _ACCENTS[position % len(_ACCENTS)]
        axes.plot(ks, [100 * curve[k].mean for k in ks], marker="o", color=color, label=name)
        axes.fill_between(
            ks, [100 * curve[k].low for k in ks], [100 * curve[k].high for k in ks], color=color, alpha=0.15, lw=0
        )
    axes.set_ylim(0, 102)
    axes.set_xlabel("k")
    axes.set_ylabel("recall@k of the expert's chunk, %")
    axes.legend(fontsize="small", frameon=False, loc="lower right")
    return figure


def bars_with_intervals(values: Mapping[str, Interval], label: str) -> Figure:
    """Horizontal bars, one per name, in the given order from top to bottom.

    Args:
        values: name -> rate between 0 and 1.
        label: axis label.
    """
    figure, axes = _figure(height=1.0 + 0.34 * len(values))
    names = list(values)
    for row, name in enumerate(names):
        value = values[name]
        axes.barh(row, 100 * value.mean, color=_ACCENTS[0], alpha=0.85, height=0.62)
        axes.errorbar(
            100 * value.mean,
            row,
            xerr=[[100 * (value.mean - value.low)], [100 * (value.high - value.mean)]],
            fmt="none",
            ecolor="#1c2126",
            capsize=3,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(label)
    return figure


def learning_curves(curves: Mapping[str, Sequence[float]], ylabel: str) -> Figure:
    """One line per name over epochs, counted from 1."""
    figure, axes = _figure(height=3.6)
    for position, (name, values) in enumerate(curves.items()):
        axes.plot(range(1, len(values) + 1), values, marker=".", color=_ACCENTS[position % len(_ACCENTS)], label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.legend(fontsize="small", frameon=False)
    return figure
