"""The panel: moments of groups that nothing was trained on, equally many of each quadrant. Knows nothing of models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sightline.teachability.errors import LeakError
from sightline.teachability.mining.records import Task
from sightline.teachability.protocols import Dynamics, S
from sightline.teachability.records import QUADRANTS, LabelledSnapshot


def choose_panel(labelled: Sequence[LabelledSnapshot], size: int) -> list[LabelledSnapshot]:
    """Return so many moments, a quarter of each quadrant; what a small quadrant lacks goes to the largest.

    Args:
        labelled: snapshots of the panel split, with quadrants; decided ones without errors are used.
        size: moments in all; fewer where there are fewer.

    Raises:
        LeakError: a snapshot belongs to another split.
    """
    strangers = [one.snapshot.id for one in labelled if one.split not in ("panel", "test")]
    if strangers:
        raise LeakError(f"{len(strangers)} snapshots are not of the panel split, {strangers[0]} for one")
    usable = [one for one in labelled if one.quadrant in QUADRANTS and one.error is None]
    members = {
        quadrant: sorted((one for one in usable if one.quadrant == quadrant), key=_order) for quadrant in QUADRANTS
    }
    chosen = {quadrant: members[quadrant][: size // len(QUADRANTS)] for quadrant in QUADRANTS}
    lacking = min(size, len(usable)) - sum(map(len, chosen.values()))
    for quadrant in sorted(QUADRANTS, key=lambda one: -len(members[one])):
        more = members[quadrant][len(chosen[quadrant]) :][: max(lacking, 0)]
        chosen[quadrant] = [*chosen[quadrant], *more]
        lacking -= len(more)
    return [one for quadrant in QUADRANTS for one in chosen[quadrant]]


def panel_tasks(dynamics: Dynamics[S], panel: Sequence[LabelledSnapshot]) -> list[Task[S]]:
    """Return tasks that begin at the panel's moments."""
    return [
        Task(one.snapshot.task, f"{one.snapshot.group}\x1f{one.snapshot.id}", dynamics.decode(one.snapshot.state_bytes))
        for one in panel
    ]


def _order(one: LabelledSnapshot) -> bytes:
    """Return a fixed order without meaning, so that no quadrant's panel is its earliest tasks."""
    return hashlib.sha256(one.snapshot.id.encode()).digest()
