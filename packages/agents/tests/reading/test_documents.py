from __future__ import annotations

import pytest

from sightline.agents import LexicalActor, ReadingAgent
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import Reading, with_documents
from sightline.agents.records import Attention, Consultation, Event, Situation
from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, RagRetriever
from sightline.retrieval.backends import BackendError, LocalBackend, RetryPolicy

ENCODER = HashingEncoder(64)
GUIDES = [
    Document(id="lamps", content="Guide to lamps: click Desk Lamp"),
    Document(id="mugs", content="Guide to mugs: click Coffee Mug"),
]
ATTENTION = (Attention("page", 1.0, True),)


class Failing(LocalBackend):
    down = False
    asked = 0

    def search(self, vectors, *, top_k, min_score=None, where=None):
        self.asked += 1
        if self.down:
            raise BackendError("gone")
        return super().search(vectors, top_k=top_k, min_score=min_score, where=where)


def backend(name: str) -> Failing:
    store = LocalEmbeddingStore(ENCODER)
    store.add(GUIDES)
    return Failing(store, name=name)


def situation(instruction: str) -> Situation:
    return Situation(instruction, (Event("OBS", "page"),), ("click[Desk Lamp]", "click[Coffee Mug]"))


def page(situations):
    return [Reading(("the page",), attention=ATTENTION) for _ in situations]


def made(*backends: Failing) -> RagRetriever:
    return RagRetriever(backends, ENCODER, retries=RetryPolicy(attempts=1), cooldown=1000)


def test_documents_come_before_the_page_and_the_rest_of_the_reading_stays() -> None:
    first = backend("first")
    view = with_documents(page, made(first), top_k=1)
    lamp, mug, again = view([situation("lamps"), situation("mugs"), situation("lamps")])
    assert lamp.context == (GUIDES[0].content, "the page")
    assert lamp.attention == ATTENTION
    assert lamp.consultation == again.consultation == Consultation(("lamps",), (GUIDES[0].content,), "first")
    assert mug.context[0] == GUIDES[1].content
    assert first.asked == 1  # one search for the batch, whatever is equal in it


def test_the_decision_says_which_backend_answered() -> None:
    first, local = backend("first"), backend("local")
    retriever = made(first, local)
    agent = ReadingAgent(
        "agent", LexicalActor(webshop_grammar), with_documents(page, retriever, top_k=2), webshop_grammar
    )
    (before,) = agent.choose([situation("lamps")])
    first.down = True
    (after,) = agent.choose([situation("lamps")])
    local.down = True
    (alone,) = agent.choose([situation("lamps")])
    assert [one.consultation and one.consultation.backend for one in (before, after, alone)] == ["first", "local", None]
    assert before.probabilities == after.probabilities
    assert alone.error is None
    assert alone.consultation is not None
    assert "gone" in (alone.consultation.error or "")


def test_another_query_may_be_asked_and_a_blank_one_is_not() -> None:
    first = backend("first")
    view = with_documents(page, made(first), top_k=1, query=lambda one: one.observation.replace("page", "mugs"))
    assert view([situation("lamps")])[0].context[0] == GUIDES[1].content
    blank = with_documents(page, made(first), top_k=1, query=lambda one: " ")
    assert blank([situation("lamps")])[0].context == ("the page",)
    assert first.asked == 1
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        with_documents(page, made(first), top_k=0)
