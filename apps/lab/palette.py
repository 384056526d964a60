"""The colours of pages and figures."""

from __future__ import annotations

from typing import Final, NamedTuple


class Paper(NamedTuple):
    """Colours of what stands on light or on dark paper."""

    ink: str
    """Colour of text."""
    accent: str
    """Colour of links and of what shall be seen first."""


LIGHT: Final = Paper(ink="#1c2126", accent="#0b6e6e")
DARK: Final = Paper(ink="#e6e9ec", accent="#5cc9c0")

COLOURS: Final = ("#0f8b8b", "#d1603d", "#4f7fc4", "#a06cb8", "#b8860b", "#7b8792", "#3d9a6a", "#c2457a")
"""Colours of lines and areas, of middling lightness, so that they stand out from white paper and from dark."""
