"""Compare methods by one measure on the same units: paired differences, their intervals, and Holm's adjustment.

The module knows arrays only. `comparison` compares agents by their episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sightline.agents.evaluation.bootstrap import Cells, Clusters, Seeds, difference_p_value, resampled_means
from sightline.agents.evaluation.intervals import Interval, percentile_interval, what_is_resampled
from sightline.agents.evaluation.significance import holm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class MethodDifference:
    """Candidate minus baseline on the same units."""

    candidate: str
    """Name of the method that is judged."""
    baseline: str
    """Name of the method that it is compared with."""
    difference: Interval
    """Mean over units and training seeds."""
    p_value: float
    """Two-sided p-value from the same resamples as the interval; never below 2 / (resamples + 1)."""
    adjusted_p_value: float
    """`p_value` after Holm's adjustment for all comparisons that were made together."""
    by_seed: tuple[float, ...]
    """Mean difference of each training seed of the candidate."""

    @property
    def outcome(self) -> Literal["better", "worse", "undecided"]:
        """What may be said: `"undecided"` unless the interval and the adjusted p-value both exclude 0."""
        level = 1 - self.difference.confidence
        if self.adjusted_p_value > level or self.difference.low <= 0 <= self.difference.high:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"


def compare_methods(
    candidate: str,
    baselines: Sequence[str],
    values: Mapping[str, ArrayLike],
    *,
    seed: int,
    groups: ArrayLike | None = None,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> list[MethodDifference]:
    """Compare one method with others, which must have been declared before the values were known.

    Args:
        candidate: name of the method in question.
        baselines: names of the others.
        values: name -> `[units]` or `[units, training seeds]`; row n is the same unit for all.
        seed: seed of the bootstrap; every comparison starts from it anew, so all draw the same units.
        groups: `[units]` labels of clusters, whose units depend on each other and are drawn together.
        seeds: whether training seeds are drawn too, on each side apart.
        unit: what the intervals call the rows.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Returns:
        In the order of `baselines`, adjusted together.

    Raises:
        ValueError: values are not finite, of differing units, or of fewer than two.
    """
    cells = {name: Cells.of(values[name]) for name in (candidate, *baselines)}
    clusters = Clusters(len(cells[candidate]), groups)
    if len(clusters) < 2:
        raise ValueError(f"a comparison needs at least two independent {unit}, got {len(clusters)}")
    found = []
    for baseline in baselines:
        sides = [cells[candidate], cells[baseline]]
        if len(sides[0]) != len(sides[1]):
            raise ValueError(f"{candidate} has {len(sides[0])} {unit}, {baseline} {len(sides[1])}: give the same")
        rng = np.random.default_rng(seed)
        first, second = resampled_means(sides, rng, clusters, seeds=seeds, resamples=resamples)
        by_seed = sides[0].values.mean(axis=0) - sides[1].values.mean()
        label = what_is_resampled(sides, seeds=seeds, unit=unit, clustered=groups is not None)
        interval = percentile_interval(float(by_seed.mean()), first - second, confidence, label)
        p_value = difference_p_value(first - second)
        found.append(MethodDifference(candidate, baseline, interval, p_value, p_value, tuple(by_seed.tolist())))
    adjusted = holm([comparison.p_value for comparison in found])
    return [replace(item, adjusted_p_value=value) for item, value in zip(found, adjusted, strict=True)]
