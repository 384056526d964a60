"""H2: what a text does in context predicts what training on it does."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.figures.finding import Finding, Verdict, interval_text
from sightline.teachability.records import QUADRANTS, LabelledSnapshot
from sightline.teachability.statistics import (
    Estimate,
    cluster_bootstrap,
    disattenuate,
    partial_spearman,
    spearman,
    spearman_brown,
)
from sightline.teachability.tables import Cell, Table
from sightline.teachability.training_records import MicroRow

CLAIM = "The payoff of a text in context predicts the gain of a small training on the moment."
WORTH = 0.3
"""Rank correlation that would matter."""

OUTCOMES = ("first_step_gain", "log_probability", "siblings")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Moments with their payoff in context and their outcomes in training, [N] each."""

    elp: NDArray[np.float64]
    """Payoff in context."""
    halves: NDArray[np.float64]
    """[N, 2] the same on each half of the wordings."""
    outcomes: Mapping[str, NDArray[np.float64]]
    """Per outcome, its mean over formats' route, rates and seeds."""
    leverage: NDArray[np.float64]
    """L_local."""
    first_order: NDArray[np.float64]
    """s1."""
    quadrants: list[str]
    """Quadrant of each."""
    groups: list[str]
    """Group of each."""


def pair_up(rows: Sequence[MicroRow], labelled: Sequence[LabelledSnapshot]) -> Pairs:
    """Return moments that have both, with the format they are routed to."""
    by_id = {one.snapshot.id: one for one in labelled}
    found: dict[str, list[MicroRow]] = defaultdict(list)
    for row in rows:
        if row.route and row.snapshot_id in by_id:
            found[row.snapshot_id].append(row)
    ids = [name for name in found if by_id[name].patches and by_id[name].values and by_id[name].first_order]
    chosen = [by_id[name] for name in ids]

    def outcome(name: str) -> NDArray[np.float64]:
        values = [[getattr(row, name) for row in found[one] if getattr(row, name) is not None] for one in ids]
        return np.array([np.mean(of) if of else math.nan for of in values], dtype=np.float64)

    return Pairs(
        np.array([one.patches.elp.estimate for one in chosen if one.patches], dtype=np.float64),
        np.array([_halves(one) for one in chosen], dtype=np.float64).reshape(len(chosen), 2),
        {name: outcome(name) for name in OUTCOMES},
        np.array([one.values.L_local.estimate for one in chosen if one.values], dtype=np.float64),
        np.array([one.first_order.logit for one in chosen if one.first_order], dtype=np.float64),
        [str(one.quadrant) for one in chosen],
        [one.snapshot.group for one in chosen],
    )


def analyse_h2(pairs: Pairs, *, patches_work: bool = True, seed: int = 0, draws: int = 2000) -> Finding:
    """Return the finding: rank correlation with an interval, by quadrant, partial, and without the noise of ELP."""
    reliability = spearman_brown(spearman(pairs.halves[:, 0], pairs.halves[:, 1])) if len(pairs.elp) > 2 else math.nan
    rows: list[tuple[Cell, ...]] = []
    main = Estimate(math.nan, math.nan, math.nan)
    for name, values in pairs.outcomes.items():
        known = np.flatnonzero(~np.isnan(values))
        for part in ("all", *QUADRANTS):
            inside = (
                known if part == "all" else np.array([i for i in known if pairs.quadrants[i] == part], dtype=np.int64)
            )
            plain = _correlate(pairs, values, inside, partial=False, seed=seed, draws=draws)
            given = _correlate(pairs, values, inside, partial=True, seed=seed, draws=draws)
            if name == OUTCOMES[0] and part == "all":
                main = plain
            rows.append(
                (name, part, len(inside), plain.value, plain.low, plain.high, given.value, given.low, given.high)
            )
    verdict: Verdict = "cannot tell"
    if patches_work and not math.isnan(main.low):
        if main.low > 0 and main.value >= WORTH:
            verdict = "supported"
        elif main.high < WORTH:
            verdict = "not supported"
    corrected = disattenuate(main.value, reliability)
    sentence = (
        f"Rank correlation of ELP with the first step's gain: {interval_text(main)} over {len(pairs.elp)} moments; "
        f"reliability of ELP between wordings {reliability:.2f}, without its noise {corrected:.2f}."
        if patches_work
        else "Not testable with this student, which does not pass the gate for students that read teaching texts."
    )
    columns = ("outcome", "moments of", "n", "Spearman", "low", "high", "given L and s1", "low", "high")
    return Finding("H2", CLAIM, verdict, sentence, Table("H2: payoff in context and in training", columns, tuple(rows)))


def draw_h2(pairs: Pairs) -> Any:
    """Draw payoff in context against the first step's gain."""
    from sightline.teachability.figures.style import COLOURS, new_figure

    figure, (axes,) = new_figure()
    for quadrant, colour in COLOURS.items():
        inside = [i for i, of in enumerate(pairs.quadrants) if of == quadrant]
        axes.scatter(pairs.elp[inside], pairs.outcomes[OUTCOMES[0]][inside], s=14, color=colour, label=quadrant)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("ELP: payoff in context")
    axes.set_ylabel("gain of the first step after two training steps")
    axes.legend(frameon=False)
    return figure


def _correlate(
    pairs: Pairs, values: NDArray[np.float64], rows: NDArray[np.int64], *, partial: bool, seed: int, draws: int
) -> Estimate:
    if len(rows) < 8:
        return Estimate(math.nan, math.nan, math.nan)

    def statistic(picked: NDArray[np.int64]) -> float:
        index = rows[picked]
        if partial:
            given = [pairs.leverage[index], pairs.first_order[index]]
            return partial_spearman(pairs.elp[index], values[index], given)
        return spearman(pairs.elp[index], values[index])

    return cluster_bootstrap(statistic, [pairs.groups[i] for i in rows.tolist()], seed=seed, draws=draws)


def _halves(one: LabelledSnapshot) -> list[float]:
    """Payoff on the even and the odd wordings, each of the format that the other half chose."""
    if one.patches is None:
        return [math.nan, math.nan]
    first, second = one.patches.routes
    return [
        float(np.mean([e.gain0.estimate for e in one.patches.effects if e.kind == kind and e.paraphrase % 2 == half]))
        for half, kind in ((0, second), (1, first))
    ]
