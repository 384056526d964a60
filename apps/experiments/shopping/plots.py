"""Figures of the experiments in the shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures import count_along_x, in_style, legend_beside, one_panel
from sightline.agents.evaluation import Interval


@in_style
def success_against_tokens(agents: Mapping[str, tuple[Interval, Interval]], frontier: Sequence[str] = ()) -> Figure:
    """Draw the success rate over prompt tokens per episode, with both intervals.

    Args:
        agents: name -> (prompt tokens per episode, success rate between 0 and 1).
        frontier: names of agents that nobody beats on both counts, by ascending tokens; a stepped line joins them.
    """
    figure, axes = one_panel()
    for name, (tokens, success) in agents.items():
        axes.errorbar(
            tokens.value,
            100 * success.value,
            xerr=[[tokens.value - tokens.low], [tokens.high - tokens.value]],
            yerr=[[100 * (success.value - success.low)], [100 * (success.high - success.value)]],
            fmt="o",
            capsize=3,
            label=name,
        )
    if frontier:
        tokens, success = ([agents[name][part].value for name in frontier] for part in (0, 1))
        heights = [100 * value for value in success]
        axes.step(tokens, heights, where="post", color="black", linestyle="--", lw=1, zorder=1, label="Pareto frontier")
    _success_over_tokens(axes, "held-out")
    return figure


@in_style
def success_curves(methods: Mapping[str, Sequence[tuple[Interval, Interval]]]) -> Figure:
    """Draw the success rate over prompt tokens per episode, a curve for each method over how much it reads.

    Args:
        methods: name -> (prompt tokens per episode, success rate between 0 and 1), in any order.
    """
    figure, axes = one_panel()
    for name, points in methods.items():
        by_tokens = sorted(points, key=lambda point: point[0].value)
        tokens = [point[0].value for point in by_tokens]
        success = [100 * point[1].value for point in by_tokens]
        ends = [[100 * abs(getattr(point[1], end) - point[1].value) for point in by_tokens] for end in ("low", "high")]
        axes.errorbar(tokens, success, yerr=ends, marker="o", capsize=3, label=name)
    _success_over_tokens(axes, "fresh")
    return figure


@in_style
def recall_curves(methods: Mapping[str, Mapping[int, Interval]], *, over: str = "k") -> Figure:
    """Draw the recall of the needed chunk over k, or over the steps of an episode.

    Args:
        methods: name -> {position: recall between 0 and 1}.
        over: what the positions are.
    """
    figure, axes = one_panel()
    for name, curve in methods.items():
        places = sorted(curve)
        (line,) = axes.plot(places, [100 * curve[place].value for place in places], marker="o", label=name)
        low, high = ([100 * getattr(curve[place], end) for place in places] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, lw=0)
    count_along_x(axes, over)
    axes.set_ylim(0, 102)
    axes.set_ylabel("recall of the expert's chunk, %")
    legend_beside(axes)
    return figure


def _success_over_tokens(axes: Axes, goals: str) -> None:
    """Say what both axes are, and which goals succeed."""
    axes.set_xlim(left=0)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("prompt tokens per episode")
    axes.set_ylabel(f"success, % of {goals} goals")
    legend_beside(axes)
