"""The infos of many episodes as one, in the form that Gymnasium's vector environments give them.

Each key of an info becomes an array over the episodes beside a mask `_key` of those that have it, and an info within
an info is treated alike. Whole columns are made at once, and made batches are joined by columns, so that workers can
batch their own episodes. This module does not know what the infos say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Infos: TypeAlias = dict[str, Any]
"""Arrays [episodes] by key, their masks by `_key`, and further such dictionaries."""


def batch_infos(infos: Sequence[Mapping[str, Any] | None]) -> Infos:
    """One batch of the infos of consecutive episodes; None for an episode that has none.

    A key's array is of bool, int or float where its first value is, with zeros for the episodes without the key; else
    of objects, with None for them.
    """
    batched: Infos = {}
    for key in _keys(info for info in infos if info is not None):
        column = [None if info is None else info.get(key) for info in infos]
        there = np.fromiter((info is not None and key in info for info in infos), np.bool_, len(infos))
        batched[key] = _array(column, there)
        batched[f"_{key}"] = there
    return batched


def join_infos(parts: Sequence[tuple[Infos, int]]) -> Infos:
    """One batch from those of consecutive groups of episodes, each with the number of its episodes."""
    if len(parts) == 1:
        return parts[0][0]
    joined: Infos = {}
    for key in _keys(infos for infos, _ in parts):
        known = next(infos[key] for infos, _ in parts if key in infos)
        if isinstance(known, dict):
            joined[key] = join_infos([(infos.get(key, {}), count) for infos, count in parts])
        else:
            joined[key] = np.concatenate(
                [infos[key] if key in infos else _nothing(count, known.dtype) for infos, count in parts]
            )
    return joined


def _keys(infos: Iterator[Mapping[str, Any]]) -> list[str]:
    """Every key of any of them, once, in the order of their coming."""
    return list(dict.fromkeys(key for info in infos for key in info))


def _array(column: list[Any], there: np.ndarray) -> Any:
    first = column[int(there.argmax())]
    if isinstance(first, dict):
        return batch_infos(column)
    if isinstance(first, bool | int | float | np.number):
        array = _nothing(len(column), np.dtype(type(first)))
        array[there] = [value for value, has in zip(column, there, strict=True) if has]
        return array
    return np.fromiter(column, np.object_, len(column))


def _nothing(count: int, dtype: np.dtype) -> np.ndarray:
    return np.full(count, None if dtype == np.object_ else 0, dtype)
