"""What each experiment adds to the report, so that any selection of them makes one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.report import Section
from sightline.agents import Table


@dataclass(frozen=True)
class Chapter:
    """One experiment's part.

    Attributes:
        claims: its answers in sentences, the most important first.
        tables: its tables of numbers.
        sections: its sections of the page.
        results: what it found, as JSON values; no time is in it.
    """

    claims: Sequence[str]
    tables: Sequence[Table]
    sections: Sequence[Section]
    results: Mapping[str, Any]
