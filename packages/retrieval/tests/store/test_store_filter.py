from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import FilterError
from sightline.retrieval.store.filters import parse_filter

ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
KEYS = st.sampled_from(["a", "b", 'quote " and \\', "$.a", "", "é\x00", "\ud800"])
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from(
        [0.1, -0.0, 0.5, 2.0, 1e300, 5e-324, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, float(2**63), -(2**63)]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.sampled_from(["", "a", "A", "b", "t", "é", "\x00", "a\x00", "\ud800", "\U0001f600", "\uffff", "1", "true"])
DATES = st.sampled_from([date(1, 1, 1), date(2026, 5, 1), date(2026, 5, 2), date(9999, 12, 31)])
TIMES = st.sampled_from(
    [
        datetime(2026, 5, 1),
        datetime(2026, 5, 1, 0, 0, 0, 1),
        datetime(2026, 5, 1, tzinfo=UTC),
        datetime(2026, 5, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 5, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | DATES | TIMES
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.just({"a": 1}) | st.just([[1], {"a": 1}])
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
COMPARISONS = st.fixed_dictionaries(
    {},
    optional={
        "==": SCALARS,
        "in": st.lists(SCALARS, max_size=3),
        **dict.fromkeys(ORDERINGS, NUMBERS | TEXTS | DATES | TIMES),
    },
).filter(bool)
CONDITIONS = st.dictionaries(KEYS, SCALARS | COMPARISONS, max_size=2)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.tuples(
        CONDITIONS,
        st.fixed_dictionaries(
            {},
            optional={
                "and": st.lists(inner, min_size=1, max_size=3),
                "or": st.lists(inner, min_size=1, max_size=3),
                "not": inner,
            },
        ),
    ).map(lambda parts: {**parts[0], **parts[1]}),
    max_leaves=6,
)


def kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, datetime):
        return "clock" if value.tzinfo is None else "instant"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def equal(a: object, b: object) -> bool:
    return kind(a) == kind(b) and a == b


def passes(value: object, operator: str, operand: Any) -> bool:
    if operator == "==":
        return equal(value, operand)
    if operator == "in":
        return any(equal(value, choice) for choice in operand)
    return kind(value) == kind(operand) and ORDERINGS[operator](value, operand)


def holds(where: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """The documented meaning of a filter, written down a second time without any translation."""
    for key, wanted in where.items():
        if key == "not":
            good = not holds(wanted, metadata)
        elif key in ("and", "or"):
            good = (all if key == "and" else any)(holds(part, metadata) for part in wanted)
        else:
            comparisons = wanted if isinstance(wanted, dict) else {"==": wanted}
            value = metadata.get(key, [])
            values = [v for v in (value if isinstance(value, list) else [value]) if not isinstance(v, (dict, list))]
            good = any(all(passes(v, operator, operand) for operator, operand in comparisons.items()) for v in values)
        if not good:
            return False
    return True


@settings(max_examples=200, deadline=None)
@given(st.lists(METADATA, min_size=1, max_size=12), FILTERS)
def test_a_filter_finds_exactly_the_documents_for_which_its_meaning_holds(metadata: list[dict], where: dict):
    with LocalEmbeddingStore(HashingEncoder(4)) as store:
        store.add(Document(id=str(number), content="x", metadata=entry) for number, entry in enumerate(metadata))
        found = {int(hit.document.id) for hit in store.search(np.ones(4), top_k=99, where=where)}
    assert found == {number for number, entry in enumerate(metadata) if holds(where, entry)}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"price": {"<=": 20}, "colour": {"in": ["red", "blue"]}}, "0"),
        ({"colour": "red", "not": {"price": {">": 20}}}, "03"),
        ({"or": [{"price": 30}, {"price": 10.0}]}, "01"),
        ({"price": {">=": 10, "<": 30}}, "0"),
        ({"colour": None}, "4"),
        ({"not": {"colour": None}}, "0123"),
        ({"sizes": 7}, "2"),
        ({"sizes": {">": 7, "<": 9}}, ""),
        ({"new": True}, "3"),
        ({"new": 1}, ""),
        ({}, "01234"),
    ],
)
def test_filters_mean_what_their_documentation_says(where: dict, expected: str):
    entries: list[dict] = [
        {"price": 10, "colour": "red"},
        {"price": 30, "colour": "red"},
        {"colour": "green", "sizes": [5, 7, 9]},
        {"colour": "red", "new": True},
        {"colour": None, "price": "cheap"},
    ]
    with LocalEmbeddingStore(HashingEncoder(4)) as store:
        store.add(Document(id=str(number), content="x", metadata=entry) for number, entry in enumerate(entries))
        assert "".join(hit.document.id for hit in store.search(np.ones(4), where=where)) == expected


def deep(levels: int) -> dict:
    where: dict = {"a": 1}
    for _ in range(levels):
        where = {"not": where}
    return where


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([("a", 1)], "must be a dictionary"),
        ({"a": {"like": "x"}}, "unknown operator 'like'"),
        ({"a": {}}, "no operator"),
        ({"a": [1, 2]}, "must be a string, a number"),
        ({"a": {"in": "red"}}, "must be a list"),
        ({"a": {"in": list(range(1001))}}, "at most 1000"),
        ({"a": {"<": None}}, "in no order"),
        ({"a": {"<": True}}, "in no order"),
        ({"a": float("nan")}, "finite"),
        ({"a": {"<": float("inf")}}, "finite"),
        ({"a": 2**63}, "64 bits"),
        ({"a": np.int64(3)}, "must be a string, a number"),
        ({1: "a"}, "key is a string"),
        ({"and": []}, "at least one filter"),
        ({"or": {"a": 1}}, "at least one filter"),
        ({"not": [{"a": 1}]}, r"where\['not'\] must be a dictionary"),
        (deep(16), "deeper than 16"),
        (deep(100_000), "deeper than 16"),
        ({"or": [{"a": 1}] * 257}, "more than 256"),
    ],
)
def test_a_filter_that_breaks_the_grammar_is_refused_with_its_place(where: Any, message: str):
    with pytest.raises(FilterError, match=message):
        parse_filter(where)


def test_filters_may_be_as_large_as_the_bounds_say():
    with LocalEmbeddingStore(HashingEncoder(4)) as store:
        store.add([Document(id="x", content="x", metadata={"a": 999})])
        assert store.search(np.ones(4), where={"a": {"in": list(range(1000))}})
        assert store.search(np.ones(4), where={"or": [{"a": number} for number in range(744, 1000)]})
        assert store.search(np.ones(4), where=deep(15))
