"""Pairs made of documents: each heading is a question, and what stands under it is the source that answers it.

Headings are no real questions: they use the words of their author, and so do the texts under them. What is learned from
them, and how often it is right, holds for real questions only as far as these are like headings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sightline.jepa.own_data.records import UNFILED, OwnPair, refuse

SUFFIXES: Final = (".md", ".markdown", ".rst", ".txt")
_LARGEST: Final = 10_000_000
_LONGEST_HEADING: Final = 200
_SECTION_CHARACTERS: Final = 1200
_LEAST_WORDS: Final = 4
_HEADING: Final = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$")
_UNDERLINE: Final = re.compile(r"([=\-~^\"'`*+#<>_:.])\1{2,}\s*$")
_FENCE: Final = re.compile(r"\s*(```|~~~)")


def read_documents(folder: Path) -> list[OwnPair]:
    """Read all documents under a folder: Markdown, reStructuredText and plain text.

    The first folder on the way to a document is its category. Each section is a source, or several if it is long; its
    heading is the question, with the document's title before it. A document without headings has the first line for a
    question if it is short, else its file's name. Hidden files, and links that lead elsewhere, are left out.

    Raises:
        OwnDataError: there is no document, or some cannot be read; the message names them.
    """
    root = folder.resolve()
    pairs: list[OwnPair] = []
    faults: list[str] = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if not path.resolve().is_relative_to(root):
            continue
        if path.stat().st_size > _LARGEST:
            faults.append(f"{path}: larger than {_LARGEST // 1_000_000} MB; split it, or leave it out")
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            faults.append(f"{path}: not UTF-8 at byte {error.start}; convert it, or leave it out")
            continue
        category = parts[0] if len(parts) > 1 else UNFILED
        pairs.extend(_pairs(text, "/".join(parts), category, path.stem))
    refuse(faults)
    if not pairs:
        refuse([f"{folder}: no document ({', '.join(SUFFIXES)}) with text under a heading in it"])
    return pairs


def _pairs(text: str, name: str, category: str, stem: str) -> Iterator[OwnPair]:
    """Yield the pairs of one document."""
    number = 0
    for question, body in sections(text, stem):
        for source in _pieces(body):
            number += 1
            yield OwnPair(question=question, source=source, category=category, id=f"{name}#{number}")


def sections(text: str, stem: str) -> list[tuple[str, list[str]]]:
    """Return the questions of a document, and the paragraphs under each.

    Args:
        text: the document.
        stem: name of its file, which stands for a title where there is none.
    """
    blocks = list(_blocks(text))
    if not any(heading for heading, _ in blocks):
        lines = [line for _, paragraphs in blocks for line in paragraphs]
        titled = len(lines) > 1 and len(lines[0]) <= _LONGEST_HEADING
        return [(lines[0] if titled else _from_stem(stem), lines[1:] if titled else lines)]
    found: list[tuple[str, list[str]]] = []
    title = ""
    for heading, paragraphs in blocks:
        if heading and not title:
            title = heading
        question = heading if heading in ("", title) else f"{title}: {heading}"
        found.append((question[:_LONGEST_HEADING] or _from_stem(stem), paragraphs))
    return found


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield headings, the first of which may be empty, with the paragraphs that follow each, one line for each."""
    heading, paragraphs, paragraph, fenced = "", [], [], False
    lines = ["".join(" " if _is_control(c) else c for c in line) for line in text.splitlines()]

    def close() -> None:
        if paragraph:
            paragraphs.append(" ".join(" ".join(paragraph).split()))
            paragraph.clear()

    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
            continue
        marked = None if fenced else _HEADING.match(line)
        following = lines[number + 1] if number + 1 < len(lines) else ""
        underlined = not fenced and bool(line.strip()) and not paragraph and bool(_UNDERLINE.match(following))
        if marked or (underlined and len(following.rstrip()) >= len(line.strip()) // 2):
            close()
            yield heading, paragraphs
            heading, paragraphs = " ".join((marked[2] if marked else line).split()), []
        elif not fenced and _UNDERLINE.match(line):
            close()
        elif line.strip():
            paragraph.append(line)
        else:
            close()
    close()
    yield heading, paragraphs


def _pieces(paragraphs: list[str]) -> Iterator[str]:
    """Yield paragraphs put together up to the length of a source; what has hardly any words is left out."""
    piece = ""
    for paragraph in paragraphs:
        if piece and len(piece) + len(paragraph) > _SECTION_CHARACTERS:
            yield piece
            piece = ""
        piece = f"{piece} {paragraph}".strip()
        while len(piece) > _SECTION_CHARACTERS:
            cut = (
                piece.rfind(" ", 1, _SECTION_CHARACTERS) if " " in piece[1:_SECTION_CHARACTERS] else _SECTION_CHARACTERS
            )
            yield piece[:cut].strip()
            piece = piece[cut:].strip()
    if len(piece.split()) >= _LEAST_WORDS:
        yield piece


def _from_stem(stem: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", stem).split()) or "document"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs")
