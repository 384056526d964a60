"""What each experiment adds to the report, so that any selection of them makes one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.report import Section
from sightline.agents import Table


@dataclass(frozen=True)
class Chapter:
    """One experiment's part."""

    claims: Sequence[str]
    """Its answers in sentences, the most important first."""
    tables: Sequence[Table]
    """Its tables of numbers."""
    sections: Sequence[Section]
    """Its sections of the page."""
    results: Mapping[str, Any]
    """What it found, as JSON values; no time is in it."""
