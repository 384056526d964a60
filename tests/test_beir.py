"""The evaluation command, on a collection that can be checked by eye."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_a_collection_is_answered_by_words_by_meaning_and_by_both(tmp_path: Path, run_app: Callable[..., str]) -> None:
    things = ["grey desk lamp", "coffee mug", "wooden shelf", "glass vase"]
    corpus = [{"_id": f"d{n}", "title": text, "text": f"a {text} for the house"} for n, text in enumerate(things)]
    queries = [{"_id": f"q{n}", "text": text} for n, text in enumerate(things)]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    judged = "\n".join(f"q{n}\td{n}\t1" for n in range(len(things)))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n")
    for _ in range(2):  # the second run finds store and index
        shown = run_app("beir", tmp_path / "out", str(tmp_path), "--encoder", "hashing")
    assert shown.count("ndcg 1.000 [1.000, 1.000]") == 3
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert set(scores) == {"words", "meaning", "both"}
    assert scores["both"]["recall"] == [1.0] * 4
