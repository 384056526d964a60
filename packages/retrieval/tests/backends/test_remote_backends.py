from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pinecone import Index
from qdrant_client import QdrantClient, models

from sightline.retrieval import Document, HashingEncoder
from sightline.retrieval.backends import (
    BackendError,
    BackendLimitError,
    BackendTimeoutError,
    BackendUnavailableError,
    ForeignRecordError,
    PineconeBackend,
    QdrantBackend,
    pinecone,
)
from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.text import UnitVectors

ENCODER = HashingEncoder(4)
AXES = np.eye(4, dtype=np.float32)


def unit(vectors: np.ndarray) -> UnitVectors:
    return UnitVectors.of(vectors, vectors.shape, "vectors", ValueError)


CONTRACT = Path(__file__).parents[1] / "data" / "pinecone_contract.json"
LAMP = Document(id="lamp", content="Desk lamp, grey", metadata={"price": 12, "colour": "grey"})
MUG = Document(id="mug", content="Coffee mug", metadata={"price": 7.5, "sizes": [1, 3]})


@pytest.fixture(scope="module")
def services() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        patch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None)
        yield importlib.import_module("pinecone_service")


def pinecone_backend(url: str, *, encoder: HashingEncoder = ENCODER, timeout: float = 20.0) -> PineconeBackend:
    return PineconeBackend(Index(host=url, api_key="key", timeout=timeout), encoder, namespace="goods")


def talk(backend: PineconeBackend) -> tuple:
    backend.upsert([LAMP, MUG], unit(AXES[:2]))
    where = {"price": {">": 5, "<=": 12}, "or": [{"colour": "grey"}, {"sizes": {"in": [3, 4]}}]}
    answers = (
        backend.count(),
        backend.get("lamp"),
        [(hit.document.id, round(hit.score, 6)) for hit in backend.search(unit(AXES[:1]), top_k=2, where=where)[0]],
    )
    backend.delete(["mug", "nobody"])
    return answers


def test_the_recorded_conversation_with_pinecone_is_what_the_backend_says_and_understands(services: ModuleType):
    recorded = json.loads(CONTRACT.read_text())["conversation"]

    class Replay(services.PineconeService):
        def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
            exchange = recorded[len(self.conversation)]
            assert {"method": method, "path": path, "body": body} == exchange["request"]
            return exchange["response"]["status"], exchange["response"]["body"]

    service = Replay(4)
    with services.serving(service) as url:
        backend = pinecone_backend(url)
        answers = talk(backend)
        backend.close()
    assert answers == (2, LAMP, [("lamp", 1.0), ("mug", 0.0)])
    assert service.conversation == recorded


def test_the_service_that_other_tests_talk_to_answers_as_recorded(services: ModuleType):
    service = services.PineconeService(4)
    for exchange in json.loads(CONTRACT.read_text())["conversation"]:
        request, response = exchange["request"], exchange["response"]
        answer = service.answer(request["method"], request["path"], request["body"])
        assert answer == (response["status"], response["body"])


@pytest.mark.parametrize(
    ("status", "error", "passing"),
    [(400, BackendError, False), (401, BackendError, False), (429, BackendError, True), (503, BackendError, True)],
)
def test_what_pinecone_refuses_is_told_from_what_may_pass(
    services: ModuleType, status: int, error: type[Exception], passing: bool
):
    service = services.PineconeService(4)
    with services.serving(service) as url:
        backend = pinecone_backend(url)
        backend.check_health()
        service.failures = [status] * 4  # the client itself tries four times
        with pytest.raises(error, match=str(status)) as caught:
            backend.count()
        backend.close()
    assert isinstance(caught.value, BackendUnavailableError) is passing


def test_a_pinecone_that_stays_silent_or_is_gone_is_unavailable(services: ModuleType):
    service = services.PineconeService(4)
    with services.serving(service) as url:
        backend = pinecone_backend(url, timeout=0.2)
        service.silent = True
        with pytest.raises(BackendTimeoutError):
            backend.check_health()
        service.released.set()
        service.silent = False
    with pytest.raises(BackendUnavailableError):
        backend.check_health()
    backend.close()


def test_a_pinecone_index_that_does_not_fit_is_refused(services: ModuleType):
    service = services.PineconeService(8)
    with services.serving(service) as url:
        backend = pinecone_backend(url)
        with pytest.raises(EncoderMismatchError, match="length 8"):
            backend.check_health()
        service.dimension = 4
        service.namespaces["goods"] = {"1": {"id": "1", "values": [1.0, 0, 0, 0], "metadata": {"text": "theirs"}}}
        with pytest.raises(ForeignRecordError, match="'goods'"):
            backend.check_health()
        backend.close()


def test_a_document_larger_than_pinecone_takes_is_refused_before_anything_is_sent(services: ModuleType):
    service = services.PineconeService(4)
    with services.serving(service) as url:
        backend = pinecone_backend(url)
        with pytest.raises(BackendLimitError, match="'large'"):
            backend.upsert([LAMP, Document(id="large", content="é" * 30_000)], unit(AXES[:2]))
        assert not service.conversation
        large = [Document(id=str(number), content="x" * 40_000) for number in range(120)]
        backend.upsert(large, unit(np.ones((120, 4), np.float32)))
        assert backend.count() == 120
        sizes = [len(json.dumps(exchange["request"]["body"])) for exchange in service.conversation]
        assert max(sizes) < 2_000_000
        assert (
            len([exchange for exchange in service.conversation if exchange["request"]["path"].endswith("upsert")]) == 3
        )
        backend.close()


def test_a_filter_that_pinecone_cannot_follow_to_the_end_is_an_error_not_a_shorter_answer(
    services: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sightline.retrieval.backends.pinecone.MAX_HITS", 8)
    with services.serving(services.PineconeService(4)) as url:
        backend = pinecone_backend(url)
        goods = [Document(id=str(number), content="x", metadata={"n": number, "name": "b"}) for number in range(20)]
        vectors = np.stack([AXES[0] + number / 20 * AXES[1] for number in range(20)])
        backend.upsert(goods, unit(vectors))

        def nearest(where: dict, **options: float) -> list[str]:
            return [hit.document.id for hit in backend.search(unit(AXES[:1]), top_k=2, where=where, **options)[0]]

        assert nearest({"n": {">=": 18}}) == ["18", "19"]
        assert nearest({"not": {"n": {"<": 6}}}) == ["6", "7"]
        with pytest.raises(BackendLimitError, match="1 of the 8"):
            nearest({"not": {"n": {"<": 7}}})
        assert nearest({"not": {"n": {"<": 7}}}, min_score=0.95) == []
        backend.close()


@pytest.mark.parametrize(("status", "passing"), [(400, False), (403, False), (429, True), (500, True)])
def test_what_a_qdrant_server_refuses_is_told_from_what_may_pass(services: ModuleType, status: int, passing: bool):
    service = services.PineconeService(4)
    service.failures = [status]
    with services.serving(service) as url:
        backend = QdrantBackend(QdrantClient(url=url, timeout=20, check_compatibility=False), ENCODER)
        with pytest.raises(BackendError) as caught:
            backend.check_health()
        backend.close()
    assert isinstance(caught.value, BackendUnavailableError) is passing


def test_a_qdrant_server_that_stays_silent_or_is_gone_is_unavailable(services: ModuleType):
    service = services.PineconeService(4)
    service.silent = True
    with services.serving(service) as url:
        backend = QdrantBackend(QdrantClient(url=url, timeout=1, check_compatibility=False), ENCODER)
        with pytest.raises(BackendTimeoutError):
            backend.check_health()
        service.released.set()
    with pytest.raises(BackendUnavailableError):
        backend.count()
    backend.close()


def test_a_qdrant_collection_that_does_not_fit_is_refused():
    client = QdrantClient(":memory:")
    for name, size, distance in [("long", 8, models.Distance.COSINE), ("dot", 4, models.Distance.DOT)]:
        client.create_collection(name, vectors_config=models.VectorParams(size=size, distance=distance))
    client.create_collection("theirs", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    client.upsert("theirs", points=[models.PointStruct(id=1, vector=[1, 0, 0, 0], payload={"text": "theirs"})])
    for collection, error, message in [
        ("long", EncoderMismatchError, "length 8"),
        ("dot", BackendError, "cosine"),
        ("theirs", ForeignRecordError, "'theirs'"),
    ]:
        with pytest.raises(error, match=message):
            QdrantBackend(client, ENCODER, collection=collection).check_health()
    client.close()


def test_an_embedded_qdrant_keeps_its_documents_in_its_folder(tmp_path: Path):
    for _ in range(2):
        backend = QdrantBackend(QdrantClient(path=str(tmp_path)), ENCODER)
        backend.upsert([LAMP], unit(AXES[:1]))
        backend.close()
    again = QdrantBackend(QdrantClient(path=str(tmp_path)), ENCODER)
    assert (again.count(), again.get("lamp")) == (1, LAMP)
    again.close()


@pytest.mark.parametrize(
    ("where", "requests"),
    [
        ({"n": 40}, 1),
        ({"n": {"in": [40, 41]}}, 1),
        ({"n": {">=": 40, "<": 60}}, 1),
        ({"not": {"n": {"<": 40}}}, 1),
        ({"or": [{"n": 40}, {"not": {"or": [{"n": {"<": 50}}, {"name": {"in": ["low"]}}]}}]}, 1),
        ({"name": {">=": "h"}, "n": {">=": 40}}, 1),
        ({"name": {"<": "k"}}, 4),  # 1, 4, 16 and 64 nearest: ranges of strings are decided by looking at hits
    ],
)
def test_qdrant_itself_decides_what_it_can(where: dict, requests: int, monkeypatch: pytest.MonkeyPatch):
    client = QdrantClient(":memory:")
    backend = QdrantBackend(client, ENCODER)
    vectors = np.stack([AXES[0] + number / 64 * AXES[1] for number in range(64)])
    entries = [{"n": number, "name": "middle" if number < 40 else "high"} for number in range(64)]
    backend.upsert([Document(id=str(n), content="x", metadata=entry) for n, entry in enumerate(entries)], unit(vectors))
    limits = []
    query_points = client.query_points

    def counted(*arguments, **options):
        limits.append(options["limit"])
        return query_points(*arguments, **options)

    monkeypatch.setattr(client, "query_points", counted)
    (hits,) = backend.search(unit(AXES[:1]), top_k=1, where=where)
    assert hits
    assert int(hits[0].document.id) >= 40
    assert len(limits) == requests
    backend.close()


def test_qdrant_is_written_to_in_batches_of_which_none_is_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sightline.retrieval.backends.qdrant._BATCH", 3)
    client = QdrantClient(":memory:")
    backend = QdrantBackend(client, ENCODER, collection="goods", name="mine")
    vectors = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    sizes: list[int] = []
    upsert = client.upsert
    monkeypatch.setattr(client, "upsert", lambda *a, **o: (sizes.append(len(o["points"])), upsert(*a, **o))[1])
    backend.upsert([Document(id=str(number), content="x") for number in range(8)], unit(vectors))
    assert sizes == [3, 3, 2]
    for number in range(8):
        (hits,) = backend.search(unit(vectors[number : number + 1]), top_k=1)
        assert (hits[0].document.id, round(hits[0].score, 5)) == (str(number), 1.0)
    assert (backend.name, client.count("goods").count) == ("mine", 8)
    backend.close()


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_requests_to_pinecone_hold_every_record_once_and_keep_both_limits(
    sizes: list[int], most_records: int, most_bytes: int
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pinecone, "_MAX_REQUEST_RECORDS", most_records)
        patch.setattr(pinecone, "_MAX_REQUEST_BYTES", most_bytes)
        patch.setattr(pinecone, "_NUMBER_BYTES", 2)
        bounds = list(pinecone._requests(sizes, 3))
    assert [position for start, stop in bounds for position in range(start, stop)] == list(range(len(sizes)))
    for start, stop in bounds:
        assert 1 <= stop - start <= most_records
        assert stop - start == 1 or sum(size + 6 for size in sizes[start:stop]) <= most_bytes
    for (start, stop), (_, end) in itertools.pairwise(bounds):  # no request could have held one record more
        full = sum(size + 6 for size in sizes[start : stop + 1]) > most_bytes
        assert end > stop
        assert full or stop - start == most_records


def test_deletions_from_pinecone_go_in_requests_of_at_most_a_thousand(
    services: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pinecone, "_MAX_REQUEST_RECORDS", 2)
    service = services.PineconeService(4)
    with services.serving(service) as url:
        backend = PineconeBackend(Index(host=url, api_key="key", timeout=20), ENCODER, namespace="mine", name="other")
        goods = [Document(id=str(number), content="x") for number in range(5)]
        backend.upsert(goods, unit(np.ones((5, 4), np.float32)))
        backend.delete([str(number) for number in range(4)])
        assert (backend.count(), backend.get("4"), backend.name) == (1, goods[4], "other")
        assert list(service.namespaces) == ["mine"]
        deletions = [e["request"]["body"] for e in service.conversation if e["request"]["path"].endswith("delete")]
        assert [len(body["ids"]) for body in deletions] == [2, 2]
        backend.close()
