"""Which format a snapshot is taught in. Knows nothing of how formats are rendered or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from sightline.teachability.records import LabelledSnapshot, PatchFormat, Quadrant

RouteRule = Literal["quadrant", "gain", "demo", "contrast", "hint"]

BY_QUADRANT: Final[dict[Quadrant, PatchFormat]] = {
    "Q1": "hint",
    "Q2": "demo",
    "Q3": "contrast",
    "Q4": "contrast",
    "undecided": "demo",
}
"""Unsure and fixable: a hint. Unsure and stuck: an example. Confident and wrong, or stuck: what to avoid."""


def choose_route(
    labelled: LabelledSnapshot, rule: RouteRule, *, by_quadrant: Mapping[Quadrant, PatchFormat] = BY_QUADRANT
) -> PatchFormat:
    """Return the format for a snapshot.

    Args:
        labelled: the snapshot.
        rule: `quadrant` looks it up, `gain` takes the one that helped most in context, a format is always itself.
        by_quadrant: the table.

    Raises:
        ValueError: what the rule needs was not measured.
    """
    if rule == "gain":
        if labelled.patches is None:
            raise ValueError(f"snapshot {labelled.snapshot.id} has no patch gains; route by quadrant instead")
        return labelled.patches.route
    if rule == "quadrant":
        if labelled.quadrant is None:
            raise ValueError(f"snapshot {labelled.snapshot.id} has no quadrant; assign_quadrants comes first")
        return by_quadrant[labelled.quadrant]
    return rule
