"""Pairs of one's own as JSON Lines: a question, the source that answers it, and what else is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

UNFILED: Final = "general"
"""Category of what has none."""
_LONGEST: Final = 20_000
_SHOWN: Final = 5


class OwnDataError(ValueError):
    """Own data cannot be used; the message names every bad record by file and line, or the first of many."""


def _one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value


def _joined(value: object) -> object:
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(" ".join(value).split())
    return "" if value is None else _one_line(value)


_Text = Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=_LONGEST)]


class OwnPair(BaseModel):
    """One line: a question and the source that answers it; or a source alone, which is searched but answers nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    source: _Text
    """Text that answers; the same text in the same category is one source, however many lines have it."""
    question: _Text | None = None
    """Question in the words of who asks; None for a source alone."""
    category: _Text | None = None
    """Area of the source, which a caller may give with the question; None if nobody could."""
    keywords: Annotated[str, BeforeValidator(_joined), Field(max_length=_LONGEST)] = ""
    """Words that a caller may give with the question, as one text or a list."""
    id: _Text | None = None
    """Name of the source in answers; None makes one up."""


def read_pairs(path: Path) -> list[OwnPair]:
    """Read pairs from a file with one JSON object per line; empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        OwnDataError: lines are no such objects; the message names them, with what is wrong with each.
    """
    pairs: list[OwnPair] = []
    faults: list[str] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                pairs.append(OwnPair.model_validate_json(line))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                field = ".".join(str(part) for part in first["loc"] if isinstance(part, str | int))
                shown = f", field {field[:40]!r}" if field else ""
                faults.append(f"{path}, line {number}{shown}: {first['msg'][:200]}")
    refuse(faults)
    return pairs


def refuse(faults: Sequence[str]) -> None:
    """Raise what is wrong, with the first few faults in full.

    Raises:
        OwnDataError: there is any fault.
    """
    if faults:
        more = f"\nand {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise OwnDataError("\n".join(faults[:_SHOWN]) + more)
