"""What a hypothesis came to: a verdict by a rule that is fixed beforehand, a sentence, a table.

A result whose interval holds both nothing and an effect worth having is "cannot tell", never "no effect".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sightline.teachability.statistics import Estimate
from sightline.teachability.tables import Table

Verdict = Literal["supported", "not supported", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A hypothesis and what was found."""

    name: str
    """`H1` to `H7`."""
    claim: str
    """The hypothesis in a sentence."""
    verdict: Verdict
    """By the rule."""
    sentence: str
    """Why, with numbers."""
    table: Table
    """What stands behind it."""


def decide(estimate: Estimate, *, worth: float, count: int | None = None) -> Verdict:
    """Return the verdict on "this number is positive".

    Supported where the whole interval is above 0; not supported where it lies below what would be worth having.

    Args:
        estimate: the number with its interval.
        worth: smallest value that would matter.
        count: differences of success that it is the mean of; few of them exclude little, see `excludes`.
    """
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return "cannot tell"
    if estimate.low > 0:
        return "supported"
    return "not supported" if excludes(estimate.high, worth=worth, count=count) else "cannot tell"


def excludes(high: float, *, worth: float, count: int | None = None) -> bool:
    """Return whether an interval that ends at `high` excludes what would be worth having.

    A bootstrap of few differences that are all 0 has no width. What was not seen once in n trials may still have a
    chance of 3 / n (Hanley and Lippman-Hand 1983), so nothing below that is excluded.
    """
    return max(high, 3 / count if count else 0.0) < worth


def interval_text(estimate: Estimate, *, points: bool = False) -> str:
    """Return `0.31 [0.10, 0.52]`, or the same in percentage points."""
    scale, digits = (100, 1) if points else (1, 3)
    numbers = [number * scale for number in (estimate.value, estimate.low, estimate.high)]
    value, low, high = (f"{number:+.{digits}f}" if number == number else "-" for number in numbers)
    return f"{value} [{low}, {high}]"


def p_text(p: float) -> str:
    """Return `p = 0.114`, or `p < 0.001` where three digits would show none."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
