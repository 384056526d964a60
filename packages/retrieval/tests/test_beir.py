from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval.beir import read_beir, score_rankings
from sightline.retrieval.jsonl import RecordError


def write(folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\nq2\td2\t0\n") -> Path:
    corpus = [
        {"_id": "d1", "title": "Lamps", "text": "grey", "metadata": {}},
        {"_id": "d2", "title": "", "text": "mug"},
    ]
    queries = [{"_id": "q1", "text": "lamp", "metadata": {}}, {"_id": "q2", "text": "vase"}]
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_collection_is_read_and_queries_without_a_relevant_document_are_left_out(tmp_path: Path):
    collection = read_beir(write(tmp_path))
    assert collection.queries == {"q1": "lamp"}
    assert collection.relevance == {"q1": {"d1": 2, "d2": 1}}
    assert [(one.id, one.content, one.metadata) for one in collection.documents()] == [
        ("d1", "Lamps\ngrey", {"title": "Lamps"}),
        ("d2", "mug", {}),
    ]


def test_scores_are_those_of_the_formulas_by_hand():
    relevance = {"a": {"x": 2, "y": 1, "z": 0}, "b": {"x": 1}, "c": {"x": 1, "y": 1, "z": 1}}
    scores = score_rankings({"a": ["z", "y", "x"], "b": [], "c": ["x", "y", "z"]}, relevance, k=2)
    assert scores.query_ids == ("a", "b", "c")
    ideal = 2 + 1 / math.log2(3)
    np.testing.assert_allclose(scores.ndcg, [(1 / math.log2(3)) / ideal, 0, 1])
    np.testing.assert_allclose(scores.recall, [1 / 2, 0, 2 / 3])
    np.testing.assert_allclose(scores.reciprocal_rank, [1 / 2, 0, 1])


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(RecordError, match=r"test.tsv, line 2"):
        read_beir(write(tmp_path, "query-id\tcorpus-id\tscore\nq1\td1\thigh\n"))
    with pytest.raises(RecordError, match="judges query 'q9'"):
        read_beir(write(tmp_path, "q9\td1\t1\n"))
    (write(tmp_path) / "corpus.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"corpus.jsonl"):
        read_beir(tmp_path)
    with pytest.raises(ValueError, match="k must be"):
        score_rankings({}, {}, k=0)
    with pytest.raises(ValueError, match="twice"):
        score_rankings({"a": ["x", "x"]}, {"a": {"x": 1}})
