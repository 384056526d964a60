"""How well the words of a request and those of a product agree, as numbers: what a reward model sees of a purchase."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.agents.grammar import Purchase

FEATURES = (
    "title_words", "all_words", "phrases", "phrases_met", "worst_phrase", "phrases_in_text", "head_in_title",
    "head_in_text", "title_precision", "has_limit", "price_low", "price_high", "within_limit", "groups",
    "chosen", "chosen_mentioned", "chosen_unmentioned", "groups_mentioned", "groups_missed", "details_known",
)  # fmt: skip
"""Names of the columns, in order."""

_WORD = re.compile(r"[a-z0-9]+(?:[.'’-][a-z0-9]+)*")
_LIMIT = re.compile(r"(?:lower|less|cheaper|under|below)\s+(?:than\s+)?\$?(\d[\d,]*(?:\.\d+)?)")
_CLAUSE_END = re.compile(
    r",|;|\band\b|\bwith\b|\bfor\b|\bthat\b|\bwhich\b|\bin\b|\bof\b|\bhas\b|\bhave\b|\bmade\b|\bis\b|\bare\b"
)
_HEAD_END = re.compile(r"\b(?:with|that|which|for|in|has|have|having|made)\b")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an any are as at be buy by can color find flavor for from get have i i'd i'm im in is it item less looking "
        "lower me my name need of on or package please price quantity should size so some style than that the their "
        "them then there these they this to under want with would you your dollars"
    )
)


class Request(NamedTuple):
    """What an instruction asks for."""

    words: frozenset[str]
    """Its telling words."""
    head: frozenset[str]
    """Words of the thing itself."""
    phrases: tuple[frozenset[str], ...]
    """Telling words between commas and small words such as "with", one set for each."""
    limit: float | None
    """Highest price, or None."""


def features(purchases: Sequence[Purchase]) -> NDArray[np.float64]:
    """Return `[purchases, features]`; see `FEATURES`."""
    return np.array([_row(purchase) for purchase in purchases], np.float64).reshape(-1, len(FEATURES))


@lru_cache(maxsize=4096)
def read_request(instruction: str) -> Request:
    """Take an instruction apart."""
    text = instruction.lower()
    found = _LIMIT.search(text)
    wishes = text[: found.start()] if found else text
    phrases = tuple(words for part in _CLAUSE_END.split(wishes) if (words := telling_words(part)))
    head = telling_words(_HEAD_END.split(wishes, maxsplit=1)[0].rpartition(",")[2])
    words = frozenset().union(*phrases)
    return Request(words, head, tuple(dict.fromkeys(phrases)), float(found[1].replace(",", "")) if found else None)


@lru_cache(maxsize=65_536)
def telling_words(text: str) -> frozenset[str]:
    """Return the words of a text that say something, lower case."""
    return frozenset(word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)


def _row(purchase: Purchase) -> tuple[float, ...]:
    request = read_request(purchase.instruction)
    title = telling_words(purchase.title)
    text = title | telling_words(purchase.details)
    chosen = [telling_words(value) for value in purchase.chosen]
    choices = frozenset().union(*chosen)
    met = [_share(phrase, text | choices) for phrase in request.phrases]
    low, high = purchase.prices
    limit = request.limit
    offered = [[value for value in group if _is_mentioned(value, request)] for group in purchase.offered]
    missed = sum(bool(group) and not any(value in purchase.chosen for value in group) for group in offered)
    mentioned = sum(_is_mentioned(value, request) for value in purchase.chosen)
    return (
        _share(request.words, title),
        _share(request.words, text | choices),
        len(met),
        _mean([share == 1.0 for share in met]),
        min(met, default=1.0),
        _mean([_share(phrase, text) == 1.0 for phrase in request.phrases]),
        _share(request.head, title),
        _share(request.head, text),
        _share(title, request.words),
        float(limit is not None),
        np.log(max(low, 0.01) / max(limit, 0.01)) if limit is not None and low == low else 0.0,
        np.log(max(high, 0.01) / max(limit, 0.01)) if limit is not None and high == high else 0.0,
        float(limit is None or not high > limit),
        len(purchase.offered),
        len(purchase.chosen),
        mentioned,
        len(purchase.chosen) - mentioned,
        sum(map(bool, offered)),
        missed,
        float(bool(purchase.details)),
    )


def _is_mentioned(value: str, request: Request) -> bool:
    words = telling_words(value)
    return bool(words) and words <= request.words


def _share(wanted: frozenset[str], given: frozenset[str]) -> float:
    """Return the share of the wanted words that are given; 1 where nothing is wanted."""
    return len(wanted & given) / len(wanted) if wanted else 1.0


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 1.0
