from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.jepa.own_data.reading import read_own_data
from sightline.jepa.own_data.records import OwnDataError


def write_pairs(path: Path, *lines: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


PAIRS = (
    {"question": "one", "source": "kettles boil water", "category": "kitchen", "keywords": "hot", "id": "k"},
    {"question": "two", "source": "kettles boil water", "category": "kitchen"},
    {"question": "one", "source": "pumps move water", "category": "garden"},
    {"question": "three", "source": "anything goes"},
    {"source": "never asked for", "category": "garden"},
)


def test_equal_sources_and_questions_are_one_and_what_has_no_category_steers_nothing(tmp_path: Path):
    data = read_own_data(write_pairs(tmp_path / "pairs.jsonl", *PAIRS, PAIRS[0]))
    texts = data.texts
    assert texts.names == ("garden", "general", "kitchen")
    assert texts.sources == ("kettles boil water", "pumps move water", "anything goes", "never asked for")
    assert data.source_ids == ("k", "source-1", "source-2", "source-3")
    assert texts.questions == ("one", "two", "one", "three")
    assert texts.question_category.tolist() == [2, 2, 0, -1]
    assert texts.source_category.tolist() == [2, 0, 1, 0]
    assert texts.pairs.tolist() == [[0, 0], [1, 0], [2, 1], [3, 2]]
    assert texts.keywords == ("hot", "", "", "")
    assert not data.from_headings


def test_a_category_is_described_by_its_name_and_what_tells_it_from_others(tmp_path: Path):
    data = read_own_data(write_pairs(tmp_path / "pairs.jsonl", *PAIRS))
    about = dict(zip(data.texts.names, data.texts.descriptions, strict=True))
    assert about["kitchen"].startswith("kitchen. ")
    assert {"kettles", "boil"} <= set(about["kitchen"].split())
    assert "pumps" in about["garden"]


def test_a_folder_may_say_what_its_categories_are_about(tmp_path: Path):
    write_pairs(tmp_path / "a.jsonl", *PAIRS[:2])
    write_pairs(tmp_path / "b.jsonl", *PAIRS[2:])
    (tmp_path / "categories.json").write_text('{"kitchen": "Where one cooks"}')
    data = read_own_data(tmp_path)
    assert dict(zip(data.texts.names, data.texts.descriptions, strict=True))["kitchen"] == "Where one cooks"
    assert len(data.texts.pairs) == 4
    (tmp_path / "categories.json").write_text('["kitchen"]')
    with pytest.raises(OwnDataError, match=r"categories\.json: must be one object"):
        read_own_data(tmp_path)


def test_documents_have_keywords_made_up_and_say_that_their_questions_are_headings(tmp_path: Path):
    for area in ("kitchen", "garden"):
        (tmp_path / area).mkdir()
        for number in range(4):
            (tmp_path / area / f"{number}.md").write_text(
                f"# The {area} number {number}\n\nIt has many {area} words.\n"
            )
    data = read_own_data(tmp_path)
    assert data.from_headings
    assert data.texts.names == ("garden", "kitchen")
    assert sum(bool(words) for words in data.texts.keywords) >= 4


def test_the_fingerprint_tells_any_other_data(tmp_path: Path):
    first = read_own_data(write_pairs(tmp_path / "1.jsonl", *PAIRS))
    assert first.fingerprint == read_own_data(write_pairs(tmp_path / "2.jsonl", *PAIRS)).fingerprint
    changed = [*PAIRS[:4], {"source": "never asked for", "category": "kitchen"}]
    assert first.fingerprint != read_own_data(write_pairs(tmp_path / "3.jsonl", *changed)).fingerprint


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_own_data(tmp_path / "nothing")
    with pytest.raises(OwnDataError, match="no line has a question"):
        read_own_data(write_pairs(tmp_path / "1.jsonl", {"source": "alone"}))
    with pytest.raises(OwnDataError, match="two sources have the id 'k'"):
        read_own_data(write_pairs(tmp_path / "2.jsonl", PAIRS[0], {"question": "x", "source": "other", "id": "k"}))
