"""The simple spaces that a nested one consists of, and the parts of its values in the same order.

Knows nothing about what the parts mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium import spaces


def leaf_spaces(space: gymnasium.Space[Any], path: str) -> Iterator[tuple[str, gymnasium.Space[Any]]]:
    """Yield the parts of a space that are neither `Dict` nor `Tuple`, each with the path that leads to it.

    Args:
        space: any space.
        path: what the space itself is called in messages.
    """
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from leaf_spaces(part, f"{path}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from leaf_spaces(part, f"{path}[{index}]")
    else:
        yield path, space


def leaf_values(space: gymnasium.Space[Any], value: Any) -> Iterator[Any]:
    """Yield the parts of a value or of a batch of values, in the order of `leaf_spaces`."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from leaf_values(part, value[key])
    elif isinstance(space, spaces.Tuple):
        for part, item in zip(space.spaces, value, strict=True):
            yield from leaf_values(part, item)
    else:
        yield value


def assemble(space: gymnasium.Space[Any], parts: Iterator[Any]) -> Any:
    """Put parts together again, the inverse of `leaf_values`."""
    if isinstance(space, spaces.Dict):
        return {key: assemble(part, parts) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(assemble(part, parts) for part in space.spaces)
    return next(parts)
