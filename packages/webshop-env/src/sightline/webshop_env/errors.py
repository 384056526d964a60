"""Every exception that this package raises on purpose, so that one `except` can catch them."""

from __future__ import annotations


class WebShopError(Exception):
    """Base of all errors of the shop."""


class CatalogueError(WebShopError, ValueError):
    """A product, attribute or instruction file does not say what it should."""


class GoalError(WebShopError, LookupError):
    """A goal, or a split of goals, that was asked for does not exist."""


class SnapshotError(WebShopError, ValueError):
    """A saved episode cannot be restored here."""
