from __future__ import annotations

from typing import Any

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, RagRetriever, chunk_text
from sightline.retrieval.backends import LocalBackend
from sightline.retrieval.ranking import passage_documents, search_parents
from sightline.retrieval.text import split_text

ENCODER = HashingEncoder(64)
GUIDES = [
    Document(id="lamps", content="# Lamps\n\nA grey lamp for the desk.\n\n## Care\n\nWipe it.", metadata={"kind": "a"}),
    Document(id="mugs", content="Coffee mugs of clay.\n\nA mug for tea.\n\nA mug for soup.", metadata={"kind": "b"}),
]


def test_passages_know_where_they_come_from():
    passages = list(passage_documents(GUIDES, chunk_text))
    assert [one.id for one in passages] == ["lamps#0", "lamps#1", "lamps#2", "lamps#3", "mugs#0", "mugs#1", "mugs#2"]
    for one in passages:
        (parent,) = [guide for guide in GUIDES if guide.id == one.metadata["parent"]]
        span: Any = slice(one.metadata["start"], one.metadata["end"])
        assert parent.content[span] == one.content
        assert one.metadata["kind"] == parent.metadata["kind"]
    (care,) = [
        one
        for one in passage_documents(GUIDES[:1], lambda text: split_text(text, markup="markdown", max_length=30))
        if "Wipe" in one.content
    ]
    assert care.metadata["headings"] == ["Lamps", "Care"]


def test_small_is_searched_and_large_is_returned():
    store, parents = LocalEmbeddingStore(ENCODER), LocalEmbeddingStore(ENCODER)
    store.add(passage_documents(GUIDES, chunk_text))
    parents.add(GUIDES)
    hits = search_parents(store, parents, "a mug for soup", top_k=2)
    assert [hit.document for hit in hits] == [GUIDES[1], GUIDES[0]]
    assert hits[0].passages[0].document.content == "A mug for soup."
    assert hits[0].score == hits[0].passages[0].score
    assert search_parents(store, {"lamps": GUIDES[0]}, "a mug", top_k=1)[0].document == GUIDES[0]
    assert search_parents(store, parents, "mug", where={"kind": "a"}, top_k=5)[0].document == GUIDES[0]
    with RagRetriever([LocalBackend(store)], ENCODER) as retriever:
        assert [hit.document.id for hit in search_parents(retriever, parents, "a mug for soup", top_k=1)] == ["mugs"]
