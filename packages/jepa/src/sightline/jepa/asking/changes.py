"""Sources that come and go without training, and callers' words held to what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

import numpy as np

from sightline.jepa.asking.contents import AnswererError, Category, Contents, StoredSource
from sightline.jepa.asking.encoders import TextEncoder, encoded
from sightline.jepa.ranking.source_index import NUM_KNOWN, NUM_RESULTS

_MOST_NAMES: Final = 12


def with_sources(
    contents: Contents,
    encoder: TextEncoder,
    texts: Sequence[str],
    categories: Sequence[str],
    ids: Sequence[str] | None,
) -> tuple[Contents, tuple[str, ...]]:
    """Return contents with further sources, and their ids; arguments and errors are those of `Answerer.add_sources`."""
    if isinstance(texts, str):
        raise TypeError("add_sources takes a list of texts; put the one text into a list")
    numbers = [_needed_number(contents.categories, name) for name in as_many("categories", categories, len(texts))]
    taken = {source.id for source in contents.sources}
    names = _new_ids(taken, len(texts)) if ids is None else tuple(as_many("ids", ids, len(texts)))
    for place, (name, text) in enumerate(zip(names, texts, strict=True)):
        check_text(name, f"the id of source {place}")
        check_text(text, f"source {place}")
        if name in taken:
            raise AnswererError(f"source id {name!r:.80} is taken; remove that source first, or choose another id")
        taken.add(name)
    if not texts:
        return contents, ()
    sources = [
        StoredSource(id=name, text=text, category=number)
        for name, text, number in zip(names, texts, numbers, strict=True)
    ]
    vectors = np.concatenate([contents.source_vectors, encoded(encoder, texts, contents.dimension)])
    return replace(contents, sources=(*contents.sources, *sources), source_vectors=vectors), names


def without_sources(contents: Contents, ids: Iterable[str]) -> Contents:
    """Return contents without some sources; arguments and errors are those of `Answerer.remove_sources`."""
    if isinstance(ids, str):
        raise TypeError("remove_sources takes a list of ids; put the one into a list")
    leaving = set(ids)
    unknown = leaving - {source.id for source in contents.sources}
    if unknown:
        name = min(unknown)
        raise AnswererError(f"there is no source {name!r:.80}{_nearest(name, [s.id for s in contents.sources])}")
    kept = np.array([source.id not in leaving for source in contents.sources])
    pairs = [row for row, pair in enumerate(contents.known) if kept[pair.source]]
    if kept.sum() < NUM_RESULTS or len(pairs) < NUM_KNOWN:
        raise AnswererError(
            f"{int(kept.sum())} sources and {len(pairs)} known questions would be left; at least {NUM_RESULTS} and "
            f"{NUM_KNOWN} are needed, so add others first"
        )
    number = np.cumsum(kept) - 1
    return replace(
        contents,
        sources=tuple(source for source, stays in zip(contents.sources, kept, strict=True) if stays),
        source_vectors=contents.source_vectors[kept],
        known=tuple(
            pair.model_copy(update={"source": int(number[pair.source])})
            for pair in (contents.known[row] for row in pairs)
        ),
        known_vectors=contents.known_vectors[pairs],
    )


def category_number(categories: Sequence[Category], name: str | None) -> int | None:
    """Return the number of a category by its name, in any case; None of None.

    Raises:
        ValueError: there is no such category.
    """
    if name is None:
        return None
    names = [category.name for category in categories]
    if name in names:
        return names.index(name)
    folded = [each.casefold() for each in names]
    if folded.count(str(name).strip().casefold()) == 1:
        return folded.index(str(name).strip().casefold())
    shown = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    raise ValueError(
        f"there is no category {name!r:.80}{_nearest(str(name), names)}; there are {shown}{more}. "
        "Steer to anything else with keywords; a new category needs training"
    )


def check_text(text: object, what: str) -> None:
    """Hold a text to a string with something in it.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{what} must be a text with something in it, not {text!r:.40}")


def as_many(what: str, values: Sequence[Any] | None, count: int) -> list[Any]:
    """Return values as a list of so many, or as many times None.

    Raises:
        TypeError: a single string was given.
        ValueError: there is another number of them.
    """
    if isinstance(values, str):
        raise TypeError(f"{what} must be a list of {count}; put the one into a list")
    listed = [None] * count if values is None else list(values)
    if len(listed) != count:
        raise ValueError(f"{what} must be {count}, as many as there are texts, not {len(listed)}")
    return listed


def _needed_number(categories: Sequence[Category], name: str | None) -> int:
    number = category_number(categories, name)
    if number is None:
        raise ValueError("every source needs a category")
    return number


def _nearest(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _new_ids(taken: set[str], count: int) -> tuple[str, ...]:
    names: list[str] = []
    number = len(taken)
    while len(names) < count:
        if f"source-{number}" not in taken:
            names.append(f"source-{number}")
        number += 1
    return tuple(names)
