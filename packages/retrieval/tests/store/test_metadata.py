from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import InvalidDocumentError
from sightline.retrieval.store.metadata import checked_metadata, metadata_from_json, metadata_json

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)) | st.datetimes(
    datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3) | st.dates() | TIMES
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$date", "$datetime"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "$date", "$datetime", "\ud800"]), VALUES))
def test_what_is_written_as_json_comes_back(metadata: dict):
    checked = checked_metadata(metadata)
    again = metadata_from_json(metadata_json(checked))
    assert again == checked
    assert repr(again) == repr(checked)  # also the kinds: an equal instant in another zone is written otherwise
    assert checked_metadata(json.loads(metadata_json(checked))) == checked or "$date" in metadata


def test_a_store_gives_dates_back_and_its_json_stays_readable(tmp_path):
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    metadata = {"on": date(2026, 5, 1), "at": noon, "clock": datetime(2026, 5, 1, 12), "list": [date(1, 1, 1), 3]}
    with LocalEmbeddingStore(HashingEncoder(8), tmp_path) as store:
        store.add([Document(id="a", content="x", metadata=metadata)])
    with LocalEmbeddingStore(HashingEncoder(8), tmp_path, read_only=True) as store:
        assert store.get("a").metadata == metadata
        assert store.verify() == []
    assert '"on":{"$date":"2026-05-01"}' in metadata_json(metadata)
    assert Document.model_validate_json(
        store_json := Document(id="a", content="x", metadata=metadata).model_dump_json()
    )
    assert Document.model_validate_json(store_json).metadata == metadata


def test_numbers_and_texts_are_compared_with_their_own_kind_alone():
    values = [
        1,
        2.5,
        "",
        "t",
        "x",
        True,
        None,
        date(2026, 5, 1),
        datetime(2026, 5, 1),
        datetime(2026, 5, 1, tzinfo=UTC),
    ]
    with LocalEmbeddingStore(HashingEncoder(8)) as store:
        store.add(Document(id=str(n), content="x", metadata={"at": value}) for n, value in enumerate(values))

        def found(condition: object) -> set[str]:
            return {hit.document.id for hit in store.search(np.ones(8), top_k=99, where={"at": condition})}

        assert found({">": 1}) == {"1"}
        assert found({">=": 1}) == found({"<": 3}) == {"0", "1"}
        assert found({">": "t"}) == {"4"}
        assert found({">=": ""}) == found({"<=": "x"}) == {"2", "3", "4"}


def test_instants_compare_whatever_their_zone_and_the_three_kinds_do_not():
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    with LocalEmbeddingStore(HashingEncoder(8)) as store:
        values = {"instant": noon, "clock": datetime(2026, 5, 1, 12), "date": date(2026, 5, 1), "text": "2026-05-01"}
        store.add([Document(id=kind, content="x", metadata={"at": value}) for kind, value in values.items()])

        def found(condition: object) -> set[str]:
            return {hit.document.id for hit in store.search(np.ones(8), top_k=9, where={"at": condition})}

        assert found(datetime(2026, 5, 1, 10, tzinfo=UTC)) == {"instant"}
        assert found({">": datetime(2026, 5, 1, 9, 59, 59, 999999, tzinfo=UTC)}) == {"instant"}
        assert found({"<=": datetime(2026, 5, 1, 12)}) == {"clock"}
        assert found({">=": date(2026, 5, 1)}) == found({"<": date(2026, 5, 2)}) == {"date"}
        assert found({"in": [date(2026, 5, 1), "2026-05-01"]}) == {"date", "text"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a": {2}}, np.float32(1), b"x", object()])
def test_what_is_no_metadata_is_refused(value: object):
    with pytest.raises(ValidationError, match="metadata"):
        Document(id="a", content="x", metadata={"k": value})  # ty: ignore[invalid-argument-type]


def test_an_instant_outside_of_the_years_of_utc_is_refused():
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    with LocalEmbeddingStore(HashingEncoder(8)) as store, pytest.raises(InvalidDocumentError, match="years 1 to 9999"):
        store.add([Document(id="a", content="x", metadata={"at": early})])
