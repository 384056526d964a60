from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.retrieval import chunk_text
from sightline.retrieval.conditioned import (
    RetrievalExample,
    build_example,
    label_chunks,
    read_examples,
    write_examples,
)

ITEM_CHUNKS = (
    "Instruction:",
    "Find me a medium desk lamp",
    "[button] Back to Search [button_]",
    "[button] M [button_]",
    "[clicked button] Medium [clicked button_]",
    "Desk Lamp for Women, medium",
    "[button] Buy Now [button_]",
)


def example(**changes: object) -> RetrievalExample:
    fields = {
        "episode_id": "goal-7",
        "t": 2,
        "instruction": "Find me a lamp",
        "events": [["OBS", "home"], ["ACT", "search[lamp]"], ["OBS", "page"]],
        "obs_text": "page",
        "chunks": ["one", "two", "three"],
        "pos_idx": [1],
        "neg_idx": [0, 2],
        "action": "click[two]",
    }
    return RetrievalExample.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("click[Buy Now]", (6,)),
        ("click[buy now]", (6,)),
        ("click[medium]", (4,)),  # not the instruction or the title, which hold the word as well
        ("click[m]", (3,)),
        ("click[desk lamp]", (1, 5)),
        ("click[no such thing]", ()),
        ("click[]", ()),
        ("search[medium]", ()),
        ("buy now", ()),
    ],
)
def test_clicks_label_the_chunks_that_hold_their_target(action: str, expected: tuple[int, ...]):
    assert label_chunks(action, ITEM_CHUNKS) == expected


def test_a_click_on_a_product_labels_its_block():
    page = (
        "Instruction:\nFind B095JXVG32\n\n[button] B0K4V67ARV [button_]\nMug\n\n[button] B095JXVG32 [button_]\nLamp\n"
    )
    assert label_chunks("click[b095jxvg32]", [chunk.text for chunk in chunk_text(page)]) == (2,)


@given(st.lists(st.text(st.sampled_from("aAbB [](){}.*"), max_size=12), max_size=8), st.text("aAb[].*", max_size=4))
def test_without_buttons_labels_are_case_insensitive_substrings(chunks: list[str], target: str):
    wanted = target.strip().lower()
    expected = [index for index, chunk in enumerate(chunks) if wanted and wanted in chunk.lower()]
    assert list(label_chunks(f"click[{target}]", chunks)) == expected


def build(action: str = "click[buy now]", **changes: object) -> RetrievalExample | None:
    fields: dict = {
        "episode_id": "goal-7",
        "t": 0,
        "instruction": "Find me a lamp",
        "events": [("OBS", "page")],
        "obs_text": "page",
        "chunks": ITEM_CHUNKS,
    }
    fields |= changes
    return build_example(action=action, **fields)


def test_all_other_chunks_are_negatives_by_default():
    built = build()
    assert built is not None
    assert (built.pos_idx, built.neg_idx) == ((6,), (0, 1, 2, 3, 4, 5))


def test_sampled_negatives_are_distinct_others_and_follow_the_generator():
    samples = [build(num_negatives=3, rng=np.random.default_rng(seed)) for seed in range(20)]
    negatives = [sample.neg_idx for sample in samples if sample is not None]
    assert all(len(set(chosen)) == 3 and set(chosen) < set(range(6)) for chosen in negatives)
    assert {index for chosen in negatives for index in chosen} == set(range(6))
    assert build(num_negatives=3, rng=np.random.default_rng(5)) == samples[5]


def test_steps_with_nothing_to_learn_give_no_example():
    assert build("search[lamp]") is None
    assert build("click[absent]") is None
    assert build(chunks=["[button] Buy Now [button_]"]) is None


def test_sampling_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="rng"):
        build(num_negatives=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"pos_idx": []},
        {"pos_idx": [3]},
        {"neg_idx": [-1]},
        {"neg_idx": [1, 0]},
        {"pos_idx": [1, 1]},
        {"events": [["CLICK", "x"]]},
        {"schema_version": 2},
        {"surplus": 1},
    ],
)
def test_inconsistent_examples_are_refused(changes: dict):
    with pytest.raises(ValidationError):
        example(**changes)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(texts, texts), max_size=4), st.integers(0, 99))
def test_examples_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, str]], t: int):
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    written = [
        example(instruction=first, obs_text=second, t=t, chunks=[first, second, "\n"]) for first, second in words
    ]
    write_examples(path, written)
    assert read_examples(path) == written


def test_a_line_of_the_file_has_the_documented_keys(tmp_path: Path):
    write_examples(tmp_path / "e.jsonl", [example()])
    assert (tmp_path / "e.jsonl").read_text() == (
        '{"schema_version":1,"episode_id":"goal-7","t":2,"instruction":"Find me a lamp",'
        '"events":[["OBS","home"],["ACT","search[lamp]"],["OBS","page"]],"obs_text":"page",'
        '"chunks":["one","two","three"],"pos_idx":[1],"neg_idx":[0,2],"action":"click[two]"}\n'
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "Invalid JSON"),
        ('{"schema_version":1}', "field 'episode_id'"),
        (example().model_dump_json().replace('"t":2', '"t":-2'), "field 't'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, complaint: str):
    path = tmp_path / "examples.jsonl"
    write_examples(path, [example(), example()])
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=rf"examples\.jsonl, line 3.*{complaint}"):
        read_examples(path)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "examples.jsonl"
    write_examples(path, [example()])
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_examples(path, [example(), example()])
    assert read_examples(path) == [example()]
    assert list(tmp_path.iterdir()) == [path]
