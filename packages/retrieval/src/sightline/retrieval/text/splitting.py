"""Passages of long texts, cut where their structure says: headings, lists, tables, code, paragraphs, sentences.

The cutting is semantic-text-splitter's, which joins short pieces as far as they fit and knows the sentences of all
scripts; HTML becomes Markdown by markdownify. Needs the extra `chunking`. This module adds under which headings a
passage stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

try:
    from markdownify import markdownify
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
except ImportError as problem:
    raise ImportError(
        f"{problem.name} is not installed, and splitting by structure needs it; "
        "install it with: pip install 'sightline-retrieval[chunking]'"
    ) from problem

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a text: `text == source[start:end]`, without white space at its ends."""

    text: str
    start: int
    end: int
    headings: tuple[str, ...]
    """Headings that it stands under, outermost first; in Markdown only."""


def split_text(
    text: str,
    *,
    markup: Literal["plain", "markdown"] = "plain",
    max_length: int = 1000,
    overlap: int = 0,
    length: Callable[[str], int] | None = None,
) -> list[Passage]:
    """Cut a text into passages as long as may be, at the highest level of structure that fits.

    Args:
        text: text to cut; for HTML give what `html_to_markdown` makes of it.
        markup: "markdown" to respect headings, lists, tables and code; "plain" for paragraphs, lines and sentences.
        max_length: greatest length of a passage.
        overlap: greatest length that a passage may repeat of the one before; less than `max_length`.
        length: function that measures a text, for example `SentenceTransformerEncoder.count_tokens`; None to count
            characters.

    Returns:
        Passages in the order of the text. All characters other than white space are in some passage.

    Raises:
        ValueError: a length is out of range.
    """
    if max_length < 1 or not 0 <= overlap < max_length:
        raise ValueError(f"max_length must be at least 1 and overlap less, not {max_length!r} and {overlap!r}")
    splitter = MarkdownSplitter if markup == "markdown" else TextSplitter
    if length is None:
        cutter = splitter(max_length, overlap=overlap)
    else:
        cutter = splitter.from_callback(length, max_length, overlap=overlap)
    headings = _headings(text) if markup == "markdown" else []
    return [
        Passage(piece, start, start + len(piece), _path(headings, start)) for start, piece in cutter.chunk_indices(text)
    ]


def html_to_markdown(html: str) -> str:
    """Return the text of an HTML page as Markdown: headings, lists, tables, links and code; scripts are left out."""
    return markdownify(html, heading_style="ATX")


def _headings(text: str) -> list[tuple[int, int, str]]:
    """Return where headings begin, with level and text; what looks like one inside of fenced code is none."""
    found, position, fence = [], 0, ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        mark = _FENCE.match(bare)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not bare.strip().strip(fence[0]) else fence
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(bare):
            found.append((position, len(heading[1]), heading[2]))
        position += len(line)
    return found


def _path(headings: list[tuple[int, int, str]], position: int) -> tuple[str, ...]:
    path: list[tuple[int, str]] = []
    for start, level, title in headings:
        if start > position:
            break
        path = [entry for entry in path if entry[0] < level] + [(level, title)]
    return tuple(title for _, title in path)
