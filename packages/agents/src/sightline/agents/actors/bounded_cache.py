"""A dictionary that forgets what was least recently used, so that it never holds more than so many bytes.

It knows nothing of what it holds: whoever puts something in says how large it is.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by key, at most `max_bytes` of them together; the least recently used go first.

    Not safe to use from several threads at once; its owner must see to that.

    Args:
        max_bytes: most bytes held; 0 holds nothing.

    Raises:
        ValueError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"a cache's max_bytes must be 0 or more, not {max_bytes!r}")
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._entries: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        """Return whether the key's value is held; asking does not count as use."""
        return key in self._entries

    def get(self, key: bytes) -> Value | None:
        """Return the key's value, which becomes the most recently used, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, value: Value, size: int) -> None:
        """Hold a value as the most recently used, in place of an earlier one of its key.

        A value that is larger than the whole cache is not held, and nothing goes for its sake.

        Args:
            key: key that `get` will be asked for.
            value: value that it will answer.
            size: bytes of key and value together.
        """
        self._remove(key)
        if size > self.max_bytes:
            return
        while self.held_bytes + size > self.max_bytes:
            self._remove(next(iter(self._entries)))
        self._entries[key] = (value, size)
        self.held_bytes += size

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.held_bytes = 0

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry[1]
