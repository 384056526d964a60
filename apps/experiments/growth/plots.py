"""Figures of the growth experiment, drawn from rows of metrics and records of episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lab.figures import count_along_x, in_style, legend_beside, one_panel
from lab.palette import COLOURS
from sightline.tamiyo_policy.experiment import GrowthRecord
from sightline.tamiyo_policy.hosts import Stage

Rows = Sequence[Mapping[str, float]]
"""What `read_metrics` gives for one training."""

_STAGE_COLOURS = {
    Stage.DORMANT: "#b9c0c7",
    Stage.GERMINATED: "#b8860b",
    Stage.TRAINING: "#4f7fc4",
    Stage.BLENDING: "#a06cb8",
    Stage.HOLDING: "#0f8b8b",
    Stage.FOSSILIZED: "#3d9a6a",
    Stage.PRUNED: "#d1603d",
    Stage.EMBARGOED: "#c2457a",
    Stage.RESETTING: "#7b8792",
}


@in_style
def score_curves(trainings: Mapping[str, Sequence[Rows]], levels: Mapping[str, float] | None = None) -> Figure:
    """Draw the mean final score of each round: a thin line per training seed, a thick one for their mean.

    Args:
        trainings: name of the method -> the rows of every training seed, equally many.
        levels: name -> score of a method that does not learn, drawn as a dashed line.
    """
    figure, axes = one_panel()
    for place, (name, seeds) in enumerate(trainings.items()):
        curves = np.array([[row["score"] for row in rows] for rows in seeds])
        rounds = np.arange(1, curves.shape[1] + 1)
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(rounds, curves.T, color=colour, lw=0.6, alpha=0.35)
        axes.plot(rounds, curves.mean(0), color=colour, lw=2, label=name)
    for place, (name, level) in enumerate((levels or {}).items(), start=len(trainings)):
        axes.axhline(level, color=COLOURS[place % len(COLOURS)], ls="--", lw=1, label=name)
    count_along_x(axes, "round")
    axes.set_ylabel("J at the end of an episode, points")
    legend_beside(axes)
    return figure


@in_style
def entropy_curves(seeds: Sequence[Rows]) -> Figure:
    """Draw every head's normalised entropy over the rounds, mean over training seeds; 1 is uniform over what is legal.

    Args:
        seeds: rows of every training seed, equally many.
    """
    figure, axes = one_panel()
    heads = [name for name in seeds[0][0] if name.startswith("entropy/")]
    for place, name in enumerate(heads):
        curve = np.mean([[row[name] for row in rows] for rows in seeds], axis=0)
        axes.plot(
            range(1, len(curve) + 1), curve, color=COLOURS[place % len(COLOURS)], label=name.removeprefix("entropy/")
        )
    axes.set_ylim(-0.02, 1.02)
    count_along_x(axes, "round")
    axes.set_ylabel("normalised entropy")
    legend_beside(axes)
    return figure


@in_style
def action_mix(seeds: Sequence[Rows]) -> Figure:
    """Draw which share of steps each operation was executed in, stacked, over the rounds; mean over training seeds."""
    figure, axes = one_panel()
    operations = [name for name in seeds[0][0] if name.startswith("operation/")]
    shares = np.array([np.mean([[row[name] for row in rows] for rows in seeds], axis=0) for name in operations])
    rounds = range(1, shares.shape[1] + 1)
    labels = [name.removeprefix("operation/").replace("_", " ") for name in operations]
    axes.stackplot(rounds, 100 * shares, labels=labels, colors=COLOURS, alpha=0.85)
    axes.set_ylim(0, 100)
    count_along_x(axes, "round")
    axes.set_ylabel("steps, %")
    legend_beside(axes)
    return figure


@in_style
def growth_timeline(records: Sequence[GrowthRecord], names: Mapping[int, str]) -> Figure:
    """Draw the stages of every slot over the steps of some episodes, and what was in it at the end.

    Args:
        records: episodes with stages, at least one.
        names: id -> name of the blueprint.

    Raises:
        ValueError: a record has no stages.
    """
    if not records or not all(record.stages for record in records):
        raise ValueError("a timeline needs records of episodes that were played step by step")
    slots = len(records[0].stages)
    figure, axes = one_panel(height=1.2 + 0.24 * slots * len(records))
    codes = np.array([[int(code, 16) for code in slot] for record in records for slot in record.stages])
    palette = ["#000000"] * (max(Stage) + 1)
    for stage, colour in _STAGE_COLOURS.items():
        palette[stage] = colour
    steps = codes.shape[1]
    axes.imshow(
        codes,
        cmap=ListedColormap(palette),
        vmin=-0.5,
        vmax=len(palette) - 0.5,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, steps + 0.5, len(codes) - 0.5, -0.5),
    )
    for row in range(slots, len(codes), slots):
        axes.axhline(row - 0.5, color="black", lw=0.8)
    labels = [
        f"{record.family} · slot {slot}" + (f" · {names.get(blueprint, blueprint)}" if blueprint else "")
        for record in records
        for slot, blueprint in enumerate(record.topology)
    ]
    axes.set_yticks(range(len(codes)), labels, fontsize="small")
    axes.grid(visible=False)
    axes.set_xlabel("step of the episode")
    seen = [stage for stage in _STAGE_COLOURS if (codes == stage).any()]
    handles = [Patch(color=_STAGE_COLOURS[stage], label=stage.name.lower()) for stage in seen]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
