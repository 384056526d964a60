"""The figures of an experiment, drawn from saved numbers with matplotlib (extra `report`).

Each function returns a `matplotlib.figure.Figure` and touches no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sightline.agents.evaluation.intervals import Interval

# Of middling lightness, so that they stand out from white paper and from dark.
_ACCENTS = ("#0f8b8b", "#d1603d", "#4f7fc4", "#a06cb8", "#b8860b", "#7b8792", "#3d9a6a", "#c2457a")


def _figure(width: float = 7.2, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def success_against_tokens(agents: Mapping[str, tuple[Interval, Interval]], frontier: Sequence[str] = ()) -> Figure:
    """Success rate over prompt tokens per episode, with both intervals.

    Args:
        agents: name -> (prompt tokens per episode, success rate between 0 and 1).
        frontier: names of agents that nobody beats on both counts, by ascending tokens; a stepped line joins them.
    """
    figure, axes = _figure()
    for position, (name, (tokens, success)) in enumerate(agents.items()):
        axes.errorbar(
            tokens.value,
            100 * success.value,
            xerr=[[tokens.value - tokens.low], [tokens.high - tokens.value]],
            yerr=[[100 * (success.value - success.low)], [100 * (success.high - success.value)]],
            fmt="o",
            capsize=3,
            color=_ACCENTS[position % len(_ACCENTS)],
            label=name,
        )
    if frontier:
        tokens, success = ([agents[name][part].value for name in frontier] for part in (0, 1))
        heights = [100 * value for value in success]
        axes.step(tokens, heights, where="post", color="black", linestyle="--", lw=1, zorder=1, label="Pareto frontier")
    axes.set_xlim(left=0)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("prompt tokens per episode")
    axes.set_ylabel("success, % of held-out goals")
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def recall_curves(methods: Mapping[str, Mapping[int, Interval]], *, over: str = "k") -> Figure:
    """Recall of the needed chunk over k, or over the steps of an episode.

    Args:
        methods: name -> {position: recall between 0 and 1}.
        over: what the positions are.
    """
    figure, axes = _figure()
    for position, (name, curve) in enumerate(methods.items()):
        places = sorted(curve)
        color = _ACCENTS[position % len(_ACCENTS)]
        axes.plot(places, [100 * curve[place].value for place in places], marker="o", color=color, label=name)
        axes.fill_between(
            places,
            [100 * curve[place].low for place in places],
            [100 * curve[place].high for place in places],
            color=color,
            alpha=0.15,
            lw=0,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 102)
    axes.set_xlabel(over)
    axes.set_ylabel("recall of the expert's chunk, %")
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
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
        axes.barh(row, 100 * value.value, color=_ACCENTS[0], alpha=0.85, height=0.62)
        axes.errorbar(
            100 * value.value,
            row,
            xerr=[[100 * (value.value - value.low)], [100 * (value.high - value.value)]],
            fmt="none",
            ecolor="black",
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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.legend(fontsize="small", frameon=False)
    return figure
