"""The words of a request, and the search that they make."""

from __future__ import annotations

import re
from typing import Final

MAX_QUERY_WORDS: Final = 40
PRICE_CLAUSE: Final = re.compile(r",? and price lower than ([\d.]+) dollars")
_EDGES: Final = ".,;:!?()[]{}<>\"'`*|-"
_FILLER_WORDS: Final = (
    "a am an and are as at be buy can find for from get give good have i i'd i'm in is it looking me my need of on or "
    "please should show some something that the this to want with would you"
)
_FILLER: Final = frozenset(_FILLER_WORDS.split())
_WORDS_ASIDE: Final = (
    "& brother dad daughter father friend gift help home husband interested kids like mom mother order party searching "
    "sister son they trip wife"
)
ASIDE: Final = frozenset(_WORDS_ASIDE.split())
"""Words of requests that say for whom, for when or how it is asked, not what is wanted."""


def content_words(text: str) -> list[str]:
    """Return the words of a request that say what is wanted: no price clause, no filler, no punctuation; lower case."""
    words = (word.strip(_EDGES) for word in PRICE_CLAUSE.sub("", text.lower()).replace("[", " ").split())
    return [word for word in words if word and word not in _FILLER]


def proposed_searches(text: str) -> tuple[str, ...]:
    """Return the words that a request itself proposes to search for; none where it says nothing."""
    query = " ".join(content_words(text)[:MAX_QUERY_WORDS])
    return (query,) if query else ()
