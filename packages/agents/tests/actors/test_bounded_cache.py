from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.actors.bounded_cache import BoundedCache

KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])


@given(st.integers(0, 8), st.lists(st.tuples(KEYS, st.none() | st.integers(0, 10)), max_size=40))
def test_it_holds_the_most_recently_used_values_that_fit(max_bytes: int, calls: list[tuple[bytes, int | None]]) -> None:
    cache: BoundedCache[int] = BoundedCache(max_bytes)
    held: list[tuple[bytes, int]] = []  # least recently used first; a value is its own size
    for key, size in calls:
        if size is None:
            expected = dict(held).get(key)
            assert cache.get(key) == expected
            held.sort(key=lambda entry: entry[0] == key)
            continue
        cache.put(key, size, size)
        held = [entry for entry in held if entry[0] != key]
        if size <= max_bytes:
            while sum(size for _, size in held) + size > max_bytes:
                held.pop(0)
            held.append((key, size))
        assert cache.held_bytes == sum(size for _, size in held) <= max_bytes
        assert len(cache) == len(held)
        assert all(key in cache for key, _ in held)


def test_asking_whether_a_key_is_held_does_not_save_it_from_going() -> None:
    cache: BoundedCache[str] = BoundedCache(2)
    cache.put(b"old", "1", 1)
    cache.put(b"new", "2", 1)
    assert b"old" in cache
    cache.put(b"newest", "3", 1)
    assert b"old" not in cache
    assert cache.get(b"new") == "2"


def test_a_cleared_cache_holds_nothing_and_can_be_filled_again() -> None:
    cache: BoundedCache[str] = BoundedCache(1)
    cache.put(b"key", "value", 1)
    cache.clear()
    assert (len(cache), cache.held_bytes, cache.get(b"key")) == (0, 0, None)
    cache.put(b"key", "value", 1)
    assert cache.get(b"key") == "value"


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        BoundedCache(-1)
