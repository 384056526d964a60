"""What a purchase looks like to whoever makes it, and how it is read off pages: nothing but what these say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Purchase:
    """A product as it would be bought."""

    instruction: str
    """What the user asked for."""
    title: str
    """The product's name."""
    details: str
    """Text of its further pages, as far as they were read, without the request that they repeat."""
    prices: tuple[float, float]
    """Lowest and highest price shown; NaN where none is."""
    offered: tuple[tuple[str, ...], ...]
    """Values of every group of options, in the page's order."""
    chosen: frozenset[str]
    """Chosen values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PurchaseReader:
    """How purchases are told apart and read; give it functions of an importable module."""

    buys: Callable[[str], bool]
    """Whether an action buys what is shown."""
    opens_item: Callable[[str], bool]
    """Whether an action opens a product's page."""
    further_pages: Callable[[Sequence[str]], tuple[str, ...]]
    """The actions of a product's page -> those that open pages with more about it, from which one can come back."""
    read: Callable[[str, str, str], Purchase]
    """The instruction, a product's page and the text of its further pages -> the purchase of it."""
