from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, RagRetriever, correlated
from sightline.retrieval.backends import (
    AllBackendsFailedError,
    BackendCooldownError,
    BackendError,
    BackendLimitError,
    BackendTimeoutError,
    BackendUnavailableError,
    LocalBackend,
    QdrantBackend,
    RetryPolicy,
    VectorBackend,
)
from sightline.retrieval.errors import (
    DuplicateDocumentError,
    EncoderMismatchError,
    FilterError,
    InvalidQueryError,
    UnknownDocumentError,
)

ENCODER = HashingEncoder(32)
LAMP = Document(id="lamp", content="grey desk lamp", metadata={"price": 12})
MUG = Document(id="mug", content="coffee mug", metadata={"price": 7})
SHELF = Document(id="shelf", content="wooden shelf")


class Faulty(LocalBackend):
    """A local backend that raises what it is told to, operation by operation."""

    def __init__(self, name: str) -> None:
        super().__init__(LocalEmbeddingStore(ENCODER), name=name)
        self.faults: defaultdict[str, list[Exception]] = defaultdict(list)
        self.broken: Exception | None = None
        self.calls: Counter[str] = Counter()

    def _meet(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.broken is not None:
            raise self.broken
        if self.faults[operation]:
            raise self.faults[operation].pop(0)

    def upsert(self, documents: Sequence[Document], vectors: Any) -> None:
        self._meet("upsert")
        super().upsert(documents, vectors)

    def delete(self, ids: Sequence[str]) -> None:
        self._meet("delete")
        super().delete(ids)

    def get(self, document_id: str) -> Document:
        self._meet("get")
        return super().get(document_id)

    def search(self, vectors: Any, **options: Any) -> list:
        self._meet("search")
        return super().search(vectors, **options)

    def check_health(self) -> None:
        self._meet("health")
        super().check_health()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Setting:
    def __init__(self, **options: Any) -> None:
        self.first, self.second, self.time = Faulty("first"), Faulty("second"), Time()
        self.retriever = RagRetriever(
            [self.first, self.second], ENCODER, clock=lambda: self.time.now, sleep=self.time.sleep, **options
        )


@pytest.fixture
def setting() -> Setting:
    made = Setting()
    made.retriever.upsert([LAMP, MUG])
    return made


DOWN = BackendUnavailableError("down")
OPERATIONS: dict[str, Callable[[RagRetriever], object]] = {
    "search": lambda retriever: retriever.search("lamp").hits[0].document,
    "get": lambda retriever: retriever.get("lamp"),
    "upsert": lambda retriever: retriever.upsert([SHELF]).written,
    "delete": lambda retriever: retriever.delete(["lamp"]).written,
}


def test_the_first_backend_answers_and_the_second_is_not_asked(setting: Setting):
    answer = setting.retriever.search("a grey lamp", top_k=1)
    assert [hit.document for hit in answer.hits] == [LAMP]
    assert (answer.backend, answer.stale, answer.attempts) == ("first", False, ())
    assert not setting.second.calls["search"]


@pytest.mark.parametrize("fault", [DOWN, BackendTimeoutError("slow"), BackendError("refused"), KeyError("a bug")])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_fails_in_one_backend_the_other_does_it(setting: Setting, operation: str, fault: Exception):
    setting.first.faults[operation] = [fault] * 2
    expected = LAMP if operation in ("search", "get") else ("second",)
    assert OPERATIONS[operation](setting.retriever) == expected
    assert setting.second.calls[operation] - (operation == "upsert") == 1


def test_the_answer_says_who_gave_it_and_what_went_wrong_before(setting: Setting):
    setting.first.faults["search"] = [DOWN, BackendTimeoutError("slow")]
    answer = setting.retriever.search("lamp")
    assert (answer.backend, answer.stale) == ("second", False)
    assert [(attempt.backend, attempt.operation, str(attempt.error)) for attempt in answer.attempts] == [
        ("first", "search", "down"),
        ("first", "search", "slow"),
    ]


def test_a_failure_that_passes_is_retried_after_a_wait(setting: Setting):
    setting.first.faults["search"] = [DOWN]
    answer = setting.retriever.search("lamp")
    assert (answer.backend, len(answer.attempts), setting.time.sleeps) == ("first", 1, [0.1])


def test_retries_are_bounded_and_their_waits_double_up_to_a_bound():
    setting = Setting(retries=RetryPolicy(attempts=5, first_delay=0.5, max_delay=1.5))
    setting.first.broken = DOWN
    setting.retriever.upsert([LAMP])
    assert (setting.first.calls["upsert"], setting.time.sleeps) == (5, [0.5, 1.0, 1.5, 1.5])


def test_a_refusal_is_not_retried(setting: Setting):
    setting.first.faults["search"] = [BackendError("refused")]
    assert setting.retriever.search("lamp").backend == "second"
    assert (setting.first.calls["search"], setting.time.sleeps) == (1, [])


def test_a_backend_that_failed_is_passed_over_until_it_is_healthy_again(setting: Setting):
    setting.first.broken = DOWN
    setting.retriever.search("lamp")
    setting.first.calls.clear()
    setting.time.now += 29
    answer = setting.retriever.search("lamp")
    assert isinstance(answer.attempts[0].error, BackendCooldownError)
    assert not setting.first.calls
    setting.time.now += 2
    answer = setting.retriever.search("lamp")  # its health is asked, once, and is bad
    assert (answer.backend, dict(setting.first.calls)) == ("second", {"health": 1})
    setting.time.now += 29
    setting.first.broken = None
    assert setting.retriever.search("lamp").backend == "second"
    setting.time.now += 2
    assert setting.retriever.search("lamp").backend == "first"
    assert dict(setting.first.calls) == {"health": 2, "search": 1}


def test_while_one_caller_asks_for_the_health_the_others_pass_the_backend_over(setting: Setting):
    setting.first.faults["search"] = [BackendError("refused")]
    setting.retriever.search("lamp")
    setting.time.now += 31
    meanwhile = []
    check = setting.first.check_health
    setting.first.check_health = lambda: (meanwhile.append(setting.retriever.search("mug").backend), check())[1]
    assert setting.retriever.search("lamp").backend == "first"
    assert meanwhile == ["second"]


def test_asking_for_health_takes_a_backend_back_at_once(setting: Setting):
    setting.first.broken = DOWN
    setting.retriever.upsert([SHELF])
    assert [(health.error, health.missing_writes) for health in setting.retriever.health()] == [(DOWN, 1), (None, 0)]
    setting.first.broken = None
    setting.retriever.health()
    assert setting.retriever.upsert([SHELF]).written == ("first", "second")


def test_when_no_backend_can_the_error_has_all_reasons(setting: Setting):
    setting.first.broken, setting.second.broken = BackendError("refused"), DOWN
    for operation in OPERATIONS.values():
        with pytest.raises(AllBackendsFailedError) as caught:
            operation(setting.retriever)
        assert {attempt.backend for attempt in caught.value.attempts} == {"first", "second"}
        assert all(word in str(caught.value) for word in ("refused", "down")) or "passed over" in str(caught.value)


def test_mistakes_of_the_caller_reach_no_backend(setting: Setting):
    retriever = setting.retriever
    setting.first.calls.clear()
    with pytest.raises(FilterError):
        retriever.search("x", where={"a": {"like": 1}})
    with pytest.raises(InvalidQueryError):
        retriever.search(" ")
    with pytest.raises(InvalidQueryError):
        retriever.search("x", top_k=0)
    with pytest.raises(DuplicateDocumentError):
        retriever.upsert([SHELF, SHELF])
    with pytest.raises(TypeError, match="one string"):
        retriever.delete("lamp")
    assert not setting.first.calls
    with pytest.raises(UnknownDocumentError):
        retriever.get("nobody")
    assert not setting.second.calls["get"]
    assert retriever.search("lamp").backend == "first"


def test_backends_of_another_encoder_are_an_error_at_once_or_when_it_shows(setting: Setting):
    with pytest.raises(EncoderMismatchError, match="'first'"):
        RagRetriever([Faulty("first")], HashingEncoder(8))
    setting.first.faults["search"] = [EncoderMismatchError("other vectors")]
    with pytest.raises(EncoderMismatchError, match="other vectors"):
        setting.retriever.search("lamp")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "at least one"),
        (["a", "a"], {}, "name of its own"),
        (["a"], {"cooldown": -1}, "cooldown"),
        (["a"], {"cooldown": float("nan")}, "cooldown"),
    ],
)
def test_a_retriever_that_cannot_work_is_refused(names: list[str], options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        RagRetriever([Faulty(name) for name in names], ENCODER, **options)
    with pytest.raises(ValueError, match="attempts"):
        RetryPolicy(attempts=0)


def test_what_a_backend_cannot_do_is_left_to_the_next_without_holding_it_against_it(setting: Setting):
    setting.first.faults["search"] = [BackendLimitError("too many")]
    assert setting.retriever.search("lamp").backend == "second"
    assert setting.retriever.search("lamp").backend == "first"


def test_a_backend_that_missed_a_write_is_asked_last_until_the_write_is_repeated(setting: Setting):
    setting.first.faults["upsert"] = [DOWN] * 2
    report = setting.retriever.upsert([SHELF])
    assert (report.written, [attempt.backend for attempt in report.attempts]) == (("second",), ["first"] * 2)
    setting.time.now += 31
    setting.retriever.health()
    assert setting.retriever.search("shelf", top_k=1).backend == "second"
    setting.second.faults["search"] = [BackendError("refused")]
    answer = setting.retriever.search("shelf", top_k=3)
    assert (answer.backend, answer.stale) == ("first", True)
    assert SHELF not in [hit.document for hit in answer.hits]
    assert setting.retriever.upsert([SHELF]).written == ("first",)
    assert setting.retriever.search("shelf", top_k=1).hits[0].document == SHELF


def test_repair_brings_over_what_a_backend_missed(setting: Setting):
    setting.first.broken = DOWN
    newer = Document(id="mug", content="tea mug")
    setting.retriever.upsert([SHELF, newer])
    setting.retriever.delete(["lamp"])
    assert setting.retriever.repair().written == ("second",)
    setting.first.broken = None
    setting.time.now += 31
    report = setting.retriever.repair()
    assert (report.written, report.attempts) == (("first", "second"), ())
    assert setting.first.count() == 2
    assert (setting.first.get("shelf"), setting.first.get("mug")) == (SHELF, newer)
    assert setting.retriever.search("mug").backend == "first"


def test_a_write_that_nobody_took_leaves_nobody_behind(setting: Setting):
    setting.first.broken = setting.second.broken = BackendError("refused")
    with pytest.raises(AllBackendsFailedError):
        setting.retriever.upsert([SHELF])
    assert [health.missing_writes for health in setting.retriever.health()] == [0, 0]


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "delete"]),
        st.sampled_from("abc"),
        st.text("xyz", min_size=1, max_size=3),
        st.sampled_from([(), ("first",), ("second",)]),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(WRITES)
def test_answers_are_those_of_a_single_store_whichever_backend_misses_which_write(writes: list):
    setting = Setting(cooldown=0)
    model: dict[str, str] = {}
    for operation, document_id, content, down in writes:
        for backend in (setting.first, setting.second):
            backend.broken = DOWN if backend.name in down else None
        if operation == "upsert":
            setting.retriever.upsert([Document(id=document_id, content=content)])
            model[document_id] = content
        else:
            setting.retriever.delete([document_id])
            model.pop(document_id, None)
        setting.first.broken = setting.second.broken = None
        if not all(health.missing_writes for health in setting.retriever.health()):
            answer = setting.retriever.search("x", top_k=9)
            assert {hit.document.id: hit.document.content for hit in answer.hits} == model
    assert setting.retriever.repair().written == ("first", "second")
    for backend in (setting.first, setting.second):
        (hits,) = backend.search(ENCODER.encode(["x"]), top_k=9)
        assert {hit.document.id: hit.document.content for hit in hits} == model


def test_a_qdrant_that_goes_away_is_replaced_by_the_local_store():
    remote = QdrantBackend(QdrantClient(":memory:"), ENCODER)
    with RagRetriever([remote, LocalBackend(LocalEmbeddingStore(ENCODER))], ENCODER) as retriever:
        assert retriever.upsert([LAMP, MUG]).written == ("qdrant", "local")
        wanted = {"price": {"<": 10}}
        before = retriever.search("lamp", where=wanted)
        remote.close()
        after = retriever.search("lamp", where=wanted)
    assert (before.backend, after.backend) == ("qdrant", "local")
    assert [hit.document for hit in before.hits] == [hit.document for hit in after.hits] == [MUG]
    assert [hit.score for hit in before.hits] == pytest.approx([hit.score for hit in after.hits], abs=1e-6)


def test_a_vector_asks_as_well_as_its_text_and_vectors_can_be_given(setting: Setting):
    setting.retriever.upsert([SHELF], vectors=2 * ENCODER.encode(["bookcase"]))
    found = [
        setting.retriever.search(query, top_k=1).hits[0] for query in ("bookcase", ENCODER.encode(["bookcase"])[0])
    ]
    assert [hit.document for hit in found] == [SHELF, SHELF]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert np.isclose(found[0].score, found[1].score)


def test_failures_and_answers_are_logged_with_the_callers_correlation_id(
    setting: Setting, caplog: pytest.LogCaptureFixture
):
    setting.first.faults["search"] = [BackendError("refused")]
    with caplog.at_level(logging.DEBUG, "sightline.retrieval"), correlated("request 7"):
        setting.retriever.search("lamp")
    (failure,) = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
    assert (failure["backend"], failure["operation"], failure["outcome"]) == ("first", "search", "BackendError")
    (answered,) = [vars(record) for record in caplog.records if hasattr(record, "failed_attempts")]
    assert (answered["backend"], answered["failed_attempts"]) == ("second", 1)
    assert {vars(record)["correlation_id"] for record in caplog.records} == {"request 7"}


def test_closing_closes_every_backend_though_one_refuses():
    closed = []

    class Stubborn(Faulty):
        def close(self) -> None:
            closed.append(self.name)
            raise OSError("cannot close")

    backends: list[VectorBackend] = [Stubborn("first"), Stubborn("second")]
    with pytest.raises(OSError, match="cannot close"):
        RagRetriever(backends, ENCODER).close()
    assert sorted(closed) == ["first", "second"]


@pytest.mark.parametrize("documents_at_once", [1, 2, 5, 9])
def test_repair_goes_on_where_it_was_interrupted(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, documents_at_once: int
):
    monkeypatch.setattr("sightline.retrieval.backends.failover._REPAIR_DOCUMENTS", documents_at_once)
    goods = [Document(id=str(number), content=f"text {number}") for number in range(5)]
    setting.first.broken = DOWN
    setting.retriever.upsert(goods)
    setting.retriever.delete(["lamp", "mug"])
    setting.first.broken = None
    setting.retriever.health()
    batches = -(-7 // documents_at_once)
    if batches > 1:
        setting.first.faults["upsert"] = [BackendError("refused")]
        setting.first.faults["delete"] = [BackendError("refused")]
        assert setting.retriever.repair().written == ("second",)
        setting.retriever.health()
        assert setting.retriever.repair().written in {("second",), ("first", "second")}
        setting.first.faults.clear()
        setting.retriever.health()
    assert setting.retriever.repair().written == ("first", "second")
    assert {number: setting.first.get(str(number)) for number in range(5)} == dict(enumerate(goods))
    assert setting.first.count() == 5
    assert [health.missing_writes for health in setting.retriever.health()] == [0, 0]


def test_the_settings_that_a_retriever_gets_when_it_names_none_stay_what_they_are():
    assert RetryPolicy() == RetryPolicy(attempts=2, first_delay=0.1, max_delay=2.0)
    assert [RetryPolicy(attempts=9).delay(failures) for failures in range(1, 8)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    )
    for wrong in (lambda: RetryPolicy(first_delay=-0.1), lambda: RetryPolicy(max_delay=-0.1)):
        with pytest.raises(ValueError, match="delays not negative"):
            wrong()


@pytest.mark.parametrize("cooldown", [0.0, 5.0])
def test_a_cooldown_of_another_length_is_kept(cooldown: float):
    setting = Setting(cooldown=cooldown, retries=RetryPolicy(attempts=1))
    setting.retriever.upsert([LAMP])
    setting.first.faults["search"] = [DOWN]
    assert setting.retriever.search("lamp").backend == "second"
    assert setting.time.sleeps == []
    if cooldown:
        setting.time.now += cooldown - 0.5
        assert setting.retriever.search("lamp").backend == "second"
        setting.time.now += 0.5
    assert setting.retriever.search("lamp").backend == "first"
