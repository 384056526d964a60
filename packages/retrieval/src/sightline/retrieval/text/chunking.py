"""Splits a page of text into chunks, each of which knows where on the page it stands.

It reads line breaks and sentence ends only and knows nothing of any site's layout. On pages that set their items apart
with blank lines every item becomes a chunk; on pages without blank lines every line does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

_BLANK_LINES = re.compile(r"\n\s*\n")
_LINE_BREAK = re.compile(r"\n")
# Where an overlong piece may be cut, from best to worst; each match ends where the next piece begins.
# Sentences end with a stop and white space, or with a mark that nothing else is written with (UAX 29, STerm).
_SENTENCE_END = re.compile(r"[.!?]\s|[。！？｡…։؟۔।॥။።፧᙮᠃᠉៕꓿]+[”’»」』）)]*\s?")
_BREAKS = (_LINE_BREAK, _SENTENCE_END, re.compile(r"\s"))


class ChunkingConfig(BaseModel):
    """How long and how short a chunk may be."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    max_characters: int = Field(default=1000, ge=50)
    """Longest chunk, in characters."""
    min_characters: int = Field(default=5, ge=1, le=50)
    """Chunks with fewer characters are joined to their neighbours, or dropped where one asks for it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: `text == source[start:end]`, without white space at its ends."""

    text: str
    start: int
    end: int


def chunk_text(text: str, config: ChunkingConfig | None = None, *, drop_short: bool = False) -> list[Chunk]:
    """Split at blank lines, or at every line break where there are no blank lines; cut what is still too long.

    A piece above `max_characters` is cut at its last line break, else sentence end, else white space in the second
    half of the permitted length, else at the permitted length.

    Args:
        text: text of a page.
        config: lengths; the defaults of `ChunkingConfig` when None.
        drop_short: True to leave out chunks shorter than `min_characters`; False to join them, such as a price or a
            size, to the next one, or to the one before where that would be too long.

    Returns:
        Chunks in the order of the text, not overlapping. All characters other than white space are in some chunk,
        except those of chunks that are dropped.
    """
    config = config or ChunkingConfig()
    pieces = list(_split(text, _BLANK_LINES))
    if len(pieces) == 1:
        pieces = list(_split(text, _LINE_BREAK))
    spans = [span for piece in pieces for span in _cut(text, *piece, config.max_characters)]
    if drop_short:
        spans = [(start, end) for start, end in spans if end - start >= config.min_characters]
    else:
        spans = _joined(spans, config)
    return [Chunk(text[start:end], start, end) for start, end in spans]


def _joined(spans: list[tuple[int, int]], config: ChunkingConfig) -> list[tuple[int, int]]:
    """Join short spans to the next one, else to the one before; one that fits to neither stays as it is."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        before = joined[-1] if joined else (start, start)
        is_short = before[1] - before[0] < config.min_characters
        if joined and is_short and end - before[0] <= config.max_characters:
            joined[-1] = (before[0], end)
        else:
            joined.append((start, end))
    for place in range(len(joined) - 1, 0, -1):
        (first, _), (start, end) = joined[place - 1], joined[place]
        if end - start < config.min_characters and end - first <= config.max_characters:
            joined[place - 1 : place + 1] = [(first, end)]
    return joined


def _split(text: str, separator: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield stripped spans between separators; empty ones are left out."""
    start = 0
    for match in separator.finditer(text):
        yield from _strip(text, start, match.start())
        start = match.end()
    yield from _strip(text, start, len(text))


def _cut(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield stripped spans of at most `limit` characters that cover `text[start:end]`."""
    while end - start > limit:
        cut = _break_before(text, start + limit // 2, start + limit)
        yield from _strip(text, start, cut)
        start = cut
    yield from _strip(text, start, end)


def _break_before(text: str, earliest: int, latest: int) -> int:
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(text, earliest, latest)]
        if ends:
            return ends[-1]
    return latest


def _strip(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if stripped := piece.strip():
        start += len(piece) - len(piece.lstrip())
        yield start, start + len(stripped)
