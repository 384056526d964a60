from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.jepa.own_data.records import OwnDataError, OwnPair, read_pairs


def test_a_line_is_a_pair_with_white_space_put_in_order(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    lines = [
        {"question": " how\nnow ", "source": "like\tthis", "category": "cows", "keywords": ["brown", "cow"]},
        {"source": "alone"},
    ]
    path.write_text("\n\n".join(json.dumps(line) for line in lines))
    assert read_pairs(path) == [
        OwnPair(question="how now", source="like this", category="cows", keywords="brown cow"),
        OwnPair(source="alone", keywords=""),
    ]


def test_every_bad_line_is_named_with_what_is_wrong(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"source": "fine"}\nnot json\n{"source": ""}\n{"question": "no source"}\n{"source": "s", "colour": "red"}\n'
        '{"source": 3}\n{"source": "s", "keywords": {"a": 1}}\n[]\n'
    )
    with pytest.raises(OwnDataError) as raised:
        read_pairs(path)
    said = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in said[:5]] == [
        f"{path}, line 2",
        f"{path}, line 3, field 'source'",
        f"{path}, line 4, field 'source'",
        f"{path}, line 5, field 'colour'",
        f"{path}, line 6, field 'source'",
    ]
    assert said[5:] == ["and 2 more"]


def test_a_long_value_does_not_fill_the_message(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"source": "s" * 100_000}) + "\n" + json.dumps({"x" * 100_000: 1}))
    with pytest.raises(OwnDataError) as raised:
        read_pairs(path)
    assert len(str(raised.value)) < 1000
