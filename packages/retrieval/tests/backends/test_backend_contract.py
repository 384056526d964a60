from __future__ import annotations

import contextlib
import importlib
import json
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pinecone import Index
from qdrant_client import QdrantClient

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, correlated
from sightline.retrieval.backends import (
    BackendError,
    LocalBackend,
    PineconeBackend,
    QdrantBackend,
    VectorBackend,
)
from sightline.retrieval.errors import (
    DuplicateDocumentError,
    EncoderMismatchError,
    FilterError,
    InvalidDocumentError,
    InvalidQueryError,
    UnknownDocumentError,
)
from sightline.retrieval.text import UnitVectors

ENCODER = HashingEncoder(16)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.fixture(scope="module")
def pinecone_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        module = importlib.import_module("pinecone_service")
        with module.serving(module.PineconeService(ENCODER.dimension)) as url:
            yield url


Open = Callable[[HashingEncoder], VectorBackend]
KINDS = ["local", "qdrant in memory", "qdrant on disk", "pinecone"]
NUMBERS = count()


@contextmanager
def place(kind: str, folder: Path, url: str) -> Generator[Open]:
    """One empty place, and how to open it with an encoder; closed at the end."""
    opened: list[VectorBackend] = []
    name = f"place-{next(NUMBERS)}"
    memory = QdrantClient(":memory:")

    def open_place(encoder: HashingEncoder) -> VectorBackend:
        backend: VectorBackend
        if kind == "local":
            backend = LocalBackend(LocalEmbeddingStore(encoder, folder / name))
        elif kind == "local in memory":
            backend = LocalBackend(LocalEmbeddingStore(encoder))
        elif kind == "qdrant in memory":
            backend = QdrantBackend(memory, encoder, collection=name)
        elif kind == "qdrant on disk":
            backend = QdrantBackend(QdrantClient(path=str(folder / name)), encoder)
        else:
            backend = PineconeBackend(Index(host=url, api_key="key", timeout=20), encoder, namespace=name)
        opened.append(backend)
        return backend

    try:
        yield open_place
    finally:
        for backend in opened:
            backend.close()
        memory.close()


@pytest.fixture(params=KINDS)
def open_backend(request: pytest.FixtureRequest, tmp_path: Path, pinecone_url: str) -> Iterator[Open]:
    with place(request.param, tmp_path, pinecone_url) as open_place:
        yield open_place


@pytest.fixture
def backend(open_backend: Open) -> VectorBackend:
    return open_backend(ENCODER)


def unit(vectors: np.ndarray) -> UnitVectors:
    rows, dimension = vectors.shape
    return UnitVectors.of(vectors, (rows, dimension), "vectors", ValueError)


def encoded(*texts: str) -> UnitVectors:
    return unit(ENCODER.encode(texts))


def write(backend: VectorBackend, documents: Sequence[Document]) -> None:
    backend.upsert(documents, encoded(*(document.content for document in documents)))


def ask(backend: VectorBackend, query: str, **options: Any) -> list[str]:
    options = {"top_k": 5, **options}
    return [hit.document.id for hit in backend.search(encoded(query), **options)[0]]


GOODS = [
    Document(id="lamp", content="grey desk lamp", metadata={"price": 12, "colour": "grey", "sizes": [5, 7, 9]}),
    Document(id="mug", content="coffee mug", metadata={"price": 7.5, "colour": None}),
    Document(id="shelf", content="wooden shelf", metadata={"price": 30, "colour": "oak", "new": True}),
]


def test_it_keeps_the_protocol_and_knows_its_encoder(backend: VectorBackend):
    assert isinstance(backend, VectorBackend)
    assert (backend.encoder_name, backend.dimension) == (ENCODER.name, ENCODER.dimension)
    backend.check_health()
    assert backend.count() == 0
    assert backend.search(encoded("lamp"), top_k=3) == [[]]


def test_what_comes_back_is_what_went_in(backend: VectorBackend):
    odd = Document(
        id="id \x00 é " + "x" * 400,
        content="nul \x00, emoji \U0001f600",
        metadata={"$a.b": {"deep": [1, None, {}]}, "": 2**63 - 1, "f": 1.0, "i": 1, "\ud800": [True, "x", 0.1]},
    )
    write(backend, [*GOODS, odd])
    assert [backend.get(document.id) for document in (*GOODS, odd)] == [*GOODS, odd]
    assert json.dumps(backend.get(odd.id).metadata) == json.dumps(odd.metadata)
    assert backend.count() == 4
    assert ask(backend, odd.content, top_k=1) == [odd.id]


def test_writing_an_id_again_replaces_the_document_and_its_vector(backend: VectorBackend):
    write(backend, GOODS)
    write(backend, [Document(id="mug", content="grey desk lamp", metadata={"price": 1})])
    assert backend.count() == 3
    assert set(ask(backend, "grey desk lamp", top_k=2)) == {"lamp", "mug"}
    assert ask(backend, "coffee mug", where={"price": 7.5}) == []


def test_deleting_passes_over_ids_that_are_not_there(backend: VectorBackend):
    backend.delete(["nobody"])
    write(backend, GOODS)
    backend.delete(["nobody", "mug", "mug"])
    backend.delete([])
    assert backend.count() == 2
    with pytest.raises(UnknownDocumentError, match="'mug'"):
        backend.get("mug")
    assert "mug" not in ask(backend, "coffee mug")


def test_hits_and_cosines_are_those_of_brute_force(backend: VectorBackend):
    rng = np.random.default_rng(0)
    vectors = 3 * rng.normal(size=(300, 16)).astype(np.float32)
    backend.upsert([Document(id=str(number), content="x") for number in range(300)], unit(vectors))
    assert backend.count() == 300
    queries = rng.normal(size=(3, 16)).astype(np.float32)
    cosines = queries @ vectors.T / np.linalg.norm(vectors, axis=1) / np.linalg.norm(queries, axis=1, keepdims=True)
    for found, expected in zip(backend.search(unit(queries), top_k=20), cosines, strict=True):
        order = np.argsort(-expected)[:20]
        assert [hit.document.id for hit in found] == [str(row) for row in order]
        assert [hit.score for hit in found] == pytest.approx(expected[order].tolist(), abs=1e-5)
    (above,) = backend.search(unit(queries[:1]), top_k=300, min_score=0.5)
    assert len(above) == int(np.count_nonzero(cosines[0] >= 0.5)) > 0


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, {"lamp", "mug", "shelf"}),
        ({"price": {"<": 12}}, {"mug"}),
        ({"price": 12.0}, {"lamp"}),
        ({"price": {">=": 7.5, "<": 30}}, {"lamp", "mug"}),
        ({"not": {"price": {">=": 7.5, "<": 30}}}, {"shelf"}),
        ({"sizes": {">": 5, "<": 7}}, set()),
        ({"not": {"sizes": {">": 5, "<": 7}}}, {"lamp", "mug", "shelf"}),
        ({"colour": {">": "h"}}, {"shelf"}),
        ({"not": {"colour": {">": "h"}}}, {"lamp", "mug"}),
        ({"colour": None}, {"mug"}),
        ({"new": True}, {"shelf"}),
        ({"new": 1}, set()),
        ({"colour": {"in": []}}, set()),
        ({"not": {"colour": {"in": []}}}, {"lamp", "mug", "shelf"}),
        ({"or": [{"colour": "oak"}, {"and": [{"sizes": 7}, {"not": {"price": 13}}]}]}, {"shelf", "lamp"}),
        ({"not": {"or": [{"colour": "oak"}, {"colour": {"<": "h"}}]}}, {"mug"}),
        ({"not": {}}, set()),
    ],
)
def test_filters_mean_the_same_everywhere(backend: VectorBackend, where: dict, expected: set[str]):
    write(backend, GOODS)
    assert set(ask(backend, "lamp", where=where)) == expected


KEYS = st.sampled_from(["a", "$b", 'quote " [0].', "é\x00", "\ud800", "numbers"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(
        [0.5, -0.0, 2.0, 5e-324, 1e300, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, float(2**63), -(2**63)]
    )
    | st.sampled_from(["", "a", "A", "\x00", "\ud800", "1", "true", "\uffff", "\U0001f600"])
    | st.sampled_from([date(1, 1, 1), date(2026, 5, 1), date(2026, 5, 2), datetime(2026, 5, 1), datetime(2026, 5, 2)])
    | st.sampled_from([datetime(2026, 5, 1, 2 * hours, tzinfo=timezone(timedelta(hours=hours))) for hours in range(3)])
)
BOUNDS = SCALARS.filter(lambda value: value is not None and not isinstance(value, bool))
COMPARISONS = st.fixed_dictionaries(
    {}, optional={"==": SCALARS, "in": st.lists(SCALARS, max_size=2), **dict.fromkeys(COMPARE, BOUNDS)}
).filter(bool)
FILTERS = st.recursive(
    st.dictionaries(KEYS, SCALARS | COMPARISONS, max_size=2),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "and": st.lists(inner, min_size=1, max_size=3),
            "or": st.lists(inner, min_size=1, max_size=3),
            "not": inner,
        },
    ),
    max_leaves=6,
)
METADATA = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3) | st.just({"a": 1}), max_size=4)


def kind_of(value: object) -> str:
    if isinstance(value, datetime):
        return "clock" if value.tzinfo is None else "instant"
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def passes(value: Any, operator: str, operand: Any) -> bool:
    if operator == "in":
        return any(passes(value, "==", choice) for choice in operand)
    return kind_of(value) == kind_of(operand) and (
        value == operand if operator == "==" else COMPARE[operator](value, operand)
    )


def holds(where: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """The grammar's meaning, without any translation."""
    verdicts = []
    for key, wanted in where.items():
        if key == "not":
            verdicts.append(not holds(wanted, metadata))
        elif key in ("and", "or"):
            verdicts.append((all if key == "and" else any)(holds(part, metadata) for part in wanted))
        else:
            value = metadata.get(key, [])
            values = [v for v in (value if isinstance(value, list) else [value]) if not isinstance(v, (dict, list))]
            comparisons = wanted if isinstance(wanted, dict) else {"==": wanted}
            verdicts.append(any(all(passes(v, *pair) for pair in comparisons.items()) for v in values))
    return all(verdicts)


@pytest.mark.parametrize("kind", ["local in memory", "qdrant in memory", "pinecone"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=st.lists(METADATA, min_size=1, max_size=8), wheres=st.lists(FILTERS, min_size=1, max_size=3))
def test_a_filter_finds_exactly_the_documents_for_which_its_meaning_holds(
    kind: str, tmp_path: Path, pinecone_url: str, metadata: list[dict], wheres: list[dict]
):
    with place(kind, tmp_path, pinecone_url) as open_place:
        backend = open_place(ENCODER)
        write(backend, [Document(id=str(n), content="x", metadata=entry) for n, entry in enumerate(metadata)])
        for where in wheres:
            expected = {str(number) for number, entry in enumerate(metadata) if holds(where, entry)}
            assert set(ask(backend, "x", top_k=2 * len(metadata), where=where)) == expected
            # With fewer hits than documents the first request may bring too few that pass.
            assert len(ask(backend, "x", top_k=1, where=where)) == min(1, len(expected))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_filters_find_the_same_by_their_meaning_locally_and_in_qdrant():
    asked = {"filters": 0, "documents": 0}

    @settings(
        max_examples=3600, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    @given(metadata=st.lists(METADATA, min_size=1, max_size=8), wheres=st.lists(FILTERS, min_size=1, max_size=12))
    def compare(metadata: list[dict], wheres: list[dict]) -> None:
        documents = [Document(id=str(n), content="x", metadata=entry) for n, entry in enumerate(metadata)]
        with contextlib.ExitStack() as stack:
            store = LocalEmbeddingStore(ENCODER)
            backends = LocalBackend(store), QdrantBackend(QdrantClient(":memory:"), ENCODER)
            for backend in backends:
                stack.callback(backend.close)
                write(backend, documents)
            for where in wheres:
                asked["filters"] += 1
                asked["documents"] += len(documents)
                expected = {document.id for document in documents if holds(where, document.metadata)}
                for backend in backends:
                    assert set(ask(backend, "x", top_k=2 * len(metadata), where=where)) == expected
                assert store.count(where) == len(expected)
                assert {document.id for document in store.documents(where)} == expected

    compare()
    print(asked)
    assert asked["filters"] >= 10_000


def test_mistakes_of_the_caller_are_told_apart_and_change_nothing(backend: VectorBackend):
    write(backend, GOODS)
    one = encoded("x")
    with pytest.raises(InvalidQueryError, match=r"expected shape \[1, 16\], not \[1, 3\]"):
        backend.search(unit(np.ones((1, 3), np.float32)), top_k=5)
    with pytest.raises(FilterError):
        backend.search(one, top_k=5, where={"a": {"like": 1}})
    with pytest.raises(InvalidQueryError):
        backend.search(one, top_k=0)
    with pytest.raises(InvalidQueryError):
        backend.search(one, top_k=5, min_score=2.0)
    twice = [Document(id="a", content="x"), Document(id="a", content="y")]
    with pytest.raises(DuplicateDocumentError, match="'a'"):
        backend.upsert(twice, encoded("x", "y"))
    with pytest.raises(InvalidDocumentError):
        backend.upsert(twice[:1], unit(np.ones((1, 3), np.float32)))
    with pytest.raises(InvalidDocumentError):
        backend.upsert(twice[:1], encoded("x", "y"))
    with pytest.raises(TypeError, match="one string"):
        backend.delete("lamp")
    assert backend.count() == 3


def test_vectors_of_another_encoder_are_refused(open_backend: Open):
    backend = open_backend(ENCODER)
    write(backend, GOODS)

    class Renamed(HashingEncoder):
        def __init__(self) -> None:
            super().__init__(16)
            self.name = "another"

    if not isinstance(backend, QdrantBackend):
        backend.close()
    with pytest.raises(EncoderMismatchError, match=r"hashing-16.*another|another.*hashing-16"):
        ask(open_backend_again(open_backend, backend, Renamed()), "lamp")


def open_backend_again(open_backend: Open, backend: VectorBackend, encoder: HashingEncoder) -> VectorBackend:
    """The same place a second time; an embedded Qdrant folder can only be opened again through its own client."""
    if isinstance(backend, QdrantBackend):
        return QdrantBackend(backend._client, encoder, collection=backend._collection)
    return open_backend(encoder)


def test_a_closed_backend_says_so_with_a_backend_error(backend: VectorBackend):
    write(backend, GOODS)
    backend.close()
    backend.close()
    with pytest.raises(BackendError):
        backend.check_health()
    with pytest.raises(BackendError):
        ask(backend, "lamp")


def test_operations_are_logged_with_the_callers_correlation_id(
    backend: VectorBackend, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG, "sightline.retrieval"), correlated("request 7"):
        write(backend, GOODS)
        ask(backend, "lamp")
    logged = {vars(record)["operation"]: vars(record) for record in caplog.records if hasattr(record, "operation")}
    assert {"upsert", "search"} <= set(logged)
    assert {entry["correlation_id"] for entry in logged.values()} == {"request 7"}
    assert (logged["upsert"]["documents"], logged["search"]["top_k"]) == (3, 5)
