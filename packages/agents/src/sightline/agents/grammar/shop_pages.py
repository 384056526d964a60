"""The parts that a page of the shop is made of, and what an episode there is worth remembering.

A chunk is a whole thing: a product with its title, price and number, an option group with its header, its values and
what is chosen, the buttons that lead on, a stretch of text. Pure functions over the shop's rich text mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from sightline.retrieval import chunk_text

if TYPE_CHECKING:
    from sightline.agents.records import Event
    from sightline.retrieval import ChunkingConfig

PRODUCT_NUMBER: Final = re.compile(r"\b(?:b0[a-z0-9]{8}|[0-9]{9}[0-9x])\b", re.IGNORECASE)
"""An ASIN, or an ISBN-10."""
CHOSEN: Final = re.compile(r"You have clicked (.*)\.")
"""The line in which an item page says what is chosen."""

_BUTTON = re.compile(r"\[(?:clicked )?button\] (.*) \[(?:clicked )?button_\]")
_OPTION = re.compile(r"  \[(?:clicked )?button\] ")
_COUNT = re.compile(r"Page \d+ \(Total results: \d+\)")
_OWN_BUTTONS: Final = frozenset(
    ("back to search", "next >", "< prev", "search", "buy now", "description", "features", "reviews", "attributes")
)
_TURNED_TO: Final = ("description", "features", "reviews", "attributes")
_REMEMBERED: Final = 3
"""How many opened products, and how many searches, are remembered: the last ones."""
_SAID: Final = 160
"""Characters that are remembered of a further page."""


def cut_shop_page(page: str, chunking: ChunkingConfig) -> tuple[str, ...]:
    """Return the parts of a page in page order.

    Args:
        page: a page as it is read, without the instruction.
        chunking: lengths; a longer option group falls into several, each below the group's header, a longer text where
            `chunk_text` cuts it. Nothing is too short to be read. Lines that only repeat what is chosen are left out.
    """
    return tuple(chunk for block in _blocks(page) for chunk in _pieces(block, chunking))


def shop_memory(events: Sequence[Event], instruction: str) -> tuple[str, ...]:
    """Return what an episode is worth remembering, a line each: searches, products opened, what is chosen.

    Args:
        events: alternating OBS and ACT, the present page last.
        instruction: what the user asked for; pages repeat it.
    """
    searches: dict[str, None] = {}
    opened: dict[str, list[str]] = {}
    chosen: list[str] = []
    number = ""
    for act, page in ((one.text, other.text) for one, other in pairwise(events) if one.kind == "ACT"):
        target = act.partition("[")[2].removesuffix("]")
        if act.startswith("search["):
            searches.pop(target, None)
            searches[target] = None
        if PRODUCT_NUMBER.fullmatch(target):
            number = target.lower()
        elif target.lower() in _TURNED_TO and number in opened:
            said = " ".join(_plain_lines(page, instruction))[:_SAID]
            opened[number] += [f"{target.lower()}: {said}"] if said else []
        title = _title_and_price(page)
        if title and number:
            known = opened.pop(number, None) or [title]
            opened[number] = known
            chosen = [line for line in page.splitlines() if CHOSEN.fullmatch(line)]
        elif target.lower() not in _TURNED_TO:
            chosen = []
    seen = [f"opened {number.upper()} {'; '.join(dict.fromkeys(known))}" for number, known in opened.items()]
    return (*(f"searched {words}" for words in [*searches][-_REMEMBERED:]), *seen[-_REMEMBERED:], *chosen)


def _blocks(page: str) -> Iterator[list[str]]:
    """Yield the lines of each part."""
    lines = [line for line in page.splitlines() if not CHOSEN.fullmatch(line)]
    block: list[str] = []
    kind = ""
    for line, following in pairwise([*lines, ""]):
        now = _kind(line, following)
        begins = now in ("product", "group") or now == "" or (now != kind and not _goes_on(kind, now))
        if begins and block:
            yield block
            block = []
        if now:
            block.append(line)
        kind = kind if _goes_on(kind, now) and not begins else now
    if block:
        yield block


def _kind(line: str, following: str) -> str:
    if not line.strip():
        return ""
    if _OPTION.match(line):
        return "option"
    if _OPTION.match(following):
        return "group"
    if button := _BUTTON.match(line):
        return "button" if button[1].lower() in _OWN_BUTTONS else "product"
    return "button" if _COUNT.match(line) else "text"


def _goes_on(kind: str, now: str) -> bool:
    """Tell whether a line belongs to the part above it: values to their group, title and price to a product."""
    return (kind, now) in {("group", "option"), ("product", "text")}


def _pieces(block: Sequence[str], chunking: ChunkingConfig) -> Iterator[str]:
    text = "\n".join(block).strip()
    if len(text) > chunking.max_characters and len(block) > 1 and _OPTION.match(block[1]):
        yield from _split_group(block[0], block[1:], chunking.max_characters)
    elif len(text) <= chunking.max_characters or any(_BUTTON.search(line) for line in block):
        yield text
    else:
        yield from (chunk.text for chunk in chunk_text(text, chunking))


def _split_group(header: str, values: Sequence[str], limit: int) -> Iterator[str]:
    piece = [header]
    for value in values:
        if len(piece) > 1 and sum(map(len, piece)) + len(piece) + len(value) > limit:
            yield "\n".join(piece)
            piece = [header]
        piece.append(value)
    yield "\n".join(piece)


def _title_and_price(page: str) -> str:
    """Return what an item page says the product is and costs; nothing for another page."""
    for line, following in pairwise(page.splitlines()):
        if following.startswith("Price: ") and not _BUTTON.search(line):
            return f"{line}, {following.removeprefix('Price: ')}"
    return ""


def _plain_lines(page: str, instruction: str) -> list[str]:
    lines = (line.strip() for line in page.replace(instruction.removeprefix("Instruction:").strip(), "").splitlines())
    return [line for line in lines if line and line != "Instruction:" and not _BUTTON.search(line)]
