"""How far back an episode could still be saved. Knows nothing of models; values come as bounds."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.teachability.records import Bound, Depth

LIKELY = 0.5


def measure_depth(path: Sequence[Bound | None]) -> Depth:
    """Return the steps back from the last state of a path to the nearest one from which success is likely.

    Args:
        path: chance of success from each state of the episode, from its first to the snapshot; None where it was not
            found out.

    Returns:
        The distance; right-censored where there is no such state, since the start may not be the first one from which
        the task could have been done.
    """
    for back, bound in enumerate(reversed(path)):
        if bound is not None and bound.low >= LIKELY:
            return Depth(steps=back, status="observed")
        if bound is None or bound.high >= LIKELY:
            return Depth(steps=back, status="undecided")
    return Depth(steps=len(path), status="censored")
