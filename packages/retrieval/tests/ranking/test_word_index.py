from __future__ import annotations

import math
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval.ranking import WordIndex, word_index


def slow_scores(texts: dict[str, str], query: str) -> dict[str, float]:
    """Lucene's BM25 as it is written down, without an index."""
    split = {key: text.split() for key, text in texts.items()}
    mean = sum(max(len(words), 1) for words in split.values()) / max(len(split), 1)
    scores: dict[str, float] = {}
    for word, times in Counter(query.split()).items():
        n = sum(word in words for words in split.values())
        weight = times * math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
        for key, words in split.items():
            if count := words.count(word):
                scores[key] = scores.get(key, 0.0) + weight * count / (count + 1.5 * (0.25 + 0.75 * len(words) / mean))
    return scores


TEXTS = st.lists(st.sampled_from(["b", "c", "d", "f"]), max_size=5).map(" ".join)
CHANGES = st.tuples(
    st.dictionaries(st.sampled_from("01234567"), TEXTS, max_size=3), st.lists(st.sampled_from("01234567"), max_size=2)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=12), st.lists(st.sampled_from("bcdfg"), min_size=1, max_size=3).map(" ".join))
def test_after_any_changes_scores_are_those_of_the_formula(changes: list, query: str):
    present: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_index, "_MAX_SEGMENTS", 3)
        patch.setattr(word_index, "_SMALL_SHARE", 2)
        index = WordIndex()
        for upserts, deletes in changes:
            index.change(upserts, deletes)
            for gone in deletes:
                if gone not in upserts:
                    present.pop(gone, None)
            present |= upserts
        assert len(index) == len(present)
        assert index.ids() == set(present)
        found = index.search(query, 99)
        assert dict(found) == pytest.approx(slow_scores(present, query))
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        assert index.search(query, 2) == found[:2]


def test_a_file_is_found_again_and_other_processes_writes_are_seen(tmp_path: Path):
    path = tmp_path / "words.sqlite"
    first = WordIndex(path)
    first.change({"a": "lamp", "b": "mug"}, mark="1")
    second = WordIndex(path)
    assert [key for key, _ in second.search("lamp", 9)] == ["a"]
    second.change({"c": "lamp lamp"}, ["a"], mark="2")
    assert [key for key, _ in first.search("lamp", 9)] == ["c"]
    assert first.mark() == "2"
    first.close()
    first.close()
    second.close()


def test_a_change_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    index = WordIndex()
    index.change({"a": "lamp"}, mark="1")
    before = index.search("lamp mug", 9)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(WordIndex, "_write_postings", full)
        with pytest.raises(sqlite3.OperationalError):
            index.change({"b": "mug"}, ["a"], mark="2")
    assert index.search("lamp mug", 9) == before
    assert (index.mark(), len(index)) == ("1", 1)
    index.change({"b": "mug"}, ["a"], mark="2")
    assert [key for key, _ in index.search("lamp mug", 9)] == ["b"]


def test_a_text_that_is_indexed_already_is_not_read_again():
    read: list[str] = []

    def tokenizer(text: str) -> list[str]:
        read.append(text)
        return text.split()

    index = WordIndex(tokenizer=tokenizer)
    index.change({"a": "lamp", "b": "mug"})
    index.change({"a": "lamp", "b": "jug"})
    assert read == ["lamp", "mug", "jug"]


def test_another_tokenizer_or_another_file_is_refused(tmp_path: Path):
    WordIndex(tmp_path / "words.sqlite").close()
    with pytest.raises(ValueError, match=r"tokenizer 'words', not 'str.split'"):
        WordIndex(tmp_path / "words.sqlite", tokenizer=str.split)
    (tmp_path / "notes.txt").write_text("no database at all, but some text " * 100)
    with pytest.raises(ValueError, match="no index of words"):
        WordIndex(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="k1"):
        WordIndex(k1=-1)


def test_small_segments_are_merged_and_large_ones_stay():
    index = WordIndex()
    index.change({str(number): "lamp mug" for number in range(1000)})
    for number in range(60):
        index.change({f"new {number}": "lamp"}, [f"new {number - 1}"])
    sizes = index._connection.execute("SELECT documents FROM segments ORDER BY documents DESC").fetchall()
    assert sizes[0] == (1000,)
    assert len(sizes) <= word_index._MAX_SEGMENTS
    assert len(index.search("lamp", 9999)) == 1001


def test_a_damage_that_sqlite_quotes_is_told(tmp_path: Path):
    path = tmp_path / "words"
    index = WordIndex(path)
    index.change({"a": "b c"})
    index.close()
    whole = path.read_bytes()
    place = whole.index(b"TABLE about") + 1
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"words is no index of words .*delete it to make it anew"):
        WordIndex(path)
