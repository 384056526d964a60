"""The U x L map: thresholds from a calibration split, and where a snapshot certainly stands. Pure functions.

Q1 unsure and fixable, Q2 unsure and stuck, Q3 confident and stuck, Q4 confident and wrong. Ties count as high.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.teachability.files import atomic_file
from sightline.teachability.jsonl import parse_record
from sightline.teachability.records import Bound, LabelledSnapshot, Quadrant, Record

DEFAULT_L = 0.05
"""Gain from which one action counts as leverage; the median of L stands among ties near 0 and decides nothing."""

_UNDECIDED = 0.1


class Thresholds(Record):
    """Where high begins."""

    schema_version: Literal[1] = 1
    u: float
    """Of U, the normalised entropy: the median of the calibration snapshots."""
    l_local: float
    """Of L_local."""
    l_median: float
    """Median of L_local's estimates in the calibration snapshots, for the record."""
    l_rule: Literal["fixed", "median"]
    """Whether `l_local` is the fixed one or the median."""
    snapshots: int
    """Calibration snapshots that were used."""
    groups: tuple[str, ...]
    """Their groups."""


def calibrate_thresholds(
    calibration: Sequence[LabelledSnapshot],
    *,
    l_rule: Literal["fixed", "median"] = "fixed",
    fixed: float = DEFAULT_L,
    leave_out: Collection[str] = (),
) -> Thresholds:
    """Return thresholds from snapshots that are used for nothing else.

    Args:
        calibration: labelled snapshots of the calibration split.
        l_rule: `fixed` takes `fixed` for L_local, `median` the median.
        fixed: value to fall back to; see there.
        leave_out: kinds of page that stand outside the map.

    Raises:
        ValueError: no calibration snapshot has both U and L.
    """
    used = [one for one in calibration if on_map(one, leave_out)]
    if not used:
        raise ValueError(f"none of {len(calibration)} calibration snapshots has an uncertainty and values")
    u = float(np.median([one.uncertainty.entropy_normalised for one in used if one.uncertainty]))
    median = float(np.median([one.values.L_local.estimate for one in used if one.values]))
    return Thresholds(
        u=u,
        l_local=fixed if l_rule == "fixed" else median,
        l_median=median,
        l_rule=l_rule,
        snapshots=len(used),
        groups=tuple(sorted({one.snapshot.group for one in used})),
    )


def assign_quadrants(
    labelled: Sequence[LabelledSnapshot], thresholds: Thresholds, *, leave_out: Collection[str] = ()
) -> list[LabelledSnapshot]:
    """Return the snapshots with their quadrants; others than those with U and L, and kinds left out, have none.

    Args:
        labelled: snapshots of any split.
        thresholds: where high begins; never taken from the snapshots themselves.
        leave_out: kinds of page that stand outside the map.
    """
    return [_assign(one, thresholds) if on_map(one, leave_out) else one for one in labelled]


def on_map(labelled: LabelledSnapshot, leave_out: Collection[str] = ()) -> bool:
    """Return whether a snapshot has a place in the map."""
    measured = labelled.uncertainty is not None and labelled.values is not None
    return measured and labelled.snapshot.kind not in leave_out


def share_above(bound: Bound, threshold: float) -> float:
    """Return the share of an interval at or above a threshold; 0 or 1 unless it straddles."""
    if bound.low >= threshold:
        return 1.0
    if bound.high < threshold:
        return 0.0
    return (bound.high - threshold) / (bound.high - bound.low)


def _assign(labelled: LabelledSnapshot, thresholds: Thresholds) -> LabelledSnapshot:
    if labelled.uncertainty is None or labelled.values is None:
        return labelled
    p_u = float(labelled.uncertainty.entropy_normalised >= thresholds.u)
    p_l = share_above(labelled.values.L_local, thresholds.l_local)
    quadrant: Quadrant = "undecided"
    if not _UNDECIDED < p_l < 1 - _UNDECIDED:
        high_l = p_l >= 0.5
        quadrant = ("Q1" if high_l else "Q2") if p_u else ("Q4" if high_l else "Q3")
    return labelled.model_copy(update={"quadrant": quadrant, "p_high_u": p_u, "p_high_l": p_l})


def write_thresholds(path: Path, thresholds: Thresholds) -> None:
    """Write thresholds, whole or not at all."""
    with atomic_file(path) as file:
        file.write(thresholds.model_dump_json(indent=1).encode() + b"\n")


def read_thresholds(path: Path) -> Thresholds:
    """Read thresholds.

    Raises:
        FileNotFoundError: there are none.
        RecordError: the file holds something else.
    """
    return parse_record(Thresholds, path.read_bytes(), where=str(path))
