from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.retrieval import Chunk, ChunkingConfig, chunk_text

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "webshop" / "traces_synth.jsonl"

RESULTS_PAGE = (
    "Instruction:\nFind me a lamp\n[button] Back to Search [button_]\nPage 1 (Total results: 50)\n"
    "[button] Next > [button_]\n\n[button] B095JXVG32 [button_]\nDesk Lamp\n$334.46\n\n"
    "[clicked button] B0K4V67ARV [clicked button_]\nConsole Table\n$7.2 to $19.52\n"
)
ITEM_PAGE = (
    "Instruction:\nFind me a lamp\n[button] Back to Search [button_]\nsize\n  [button] medium [button_]\n"
    "Desk Lamp for Women\nPrice: $144.5\n[button] Buy Now [button_]\n"
)

page_like = st.text(st.sampled_from("ab. \n\t!é★\r"), max_size=600) | st.text(max_size=300)
configs = st.builds(ChunkingConfig, max_characters=st.integers(50, 120), min_characters=st.integers(1, 50)) | st.just(
    ChunkingConfig()
)


def texts(page: str, *, drop_short: bool = False, **config: int) -> list[str]:
    return [chunk.text for chunk in chunk_text(page, ChunkingConfig(**config), drop_short=drop_short)]


def test_each_product_of_a_results_page_is_one_chunk():
    assert texts(RESULTS_PAGE) == [
        "Instruction:\nFind me a lamp\n[button] Back to Search [button_]\nPage 1 (Total results: 50)\n"
        "[button] Next > [button_]",
        "[button] B095JXVG32 [button_]\nDesk Lamp\n$334.46",
        "[clicked button] B0K4V67ARV [clicked button_]\nConsole Table\n$7.2 to $19.52",
    ]


@pytest.mark.parametrize("drop_short", [False, True])
def test_each_line_of_a_page_without_blank_lines_is_one_chunk_and_short_ones_are_joined_or_dropped(drop_short: bool):
    assert texts(ITEM_PAGE, drop_short=drop_short) == [
        "Instruction:",
        "Find me a lamp",
        "[button] Back to Search [button_]",
        "[button] medium [button_]" if drop_short else "size\n  [button] medium [button_]",
        "Desk Lamp for Women",
        "Price: $144.5",
        "[button] Buy Now [button_]",
    ]


def test_lines_of_white_space_count_as_blank():
    assert texts("first block\n \t\nsecond block\r\n\r\nthird block") == ["first block", "second block", "third block"]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("a" * 30 + "\n" + "b" * 10 + " " + "c" * 20 + "\n\n" + "end of it", ["a" * 30, "b" * 10 + " " + "c" * 20]),
        (
            "a" * 30 + ". " + "b" * 10 + " " + "c" * 20 + "\n\n" + "end of it",
            ["a" * 30 + ".", "b" * 10 + " " + "c" * 20],
        ),
        ("a" * 30 + " " + "b" * 10 + " " + "c" * 20 + "\n\n" + "end of it", ["a" * 30 + " " + "b" * 10, "c" * 20]),
        ("a" * 120 + "\n\n" + "end of it", ["a" * 50, "a" * 50, "a" * 20]),
    ],
    ids=["line break", "sentence end", "white space", "nothing to cut at"],
)
def test_overlong_pieces_are_cut_at_the_best_break(page: str, expected: list[str]):
    assert texts(page, max_characters=50) == [*expected, "end of it"]


def test_a_page_of_white_space_has_no_chunks():
    assert chunk_text(" \n\n\t\n") == []


@given(page_like, configs)
def test_spans_index_the_text_in_order_and_within_limits(page: str, config: ChunkingConfig):
    chunks = chunk_text(page, config, drop_short=True)
    assert all(page[chunk.start : chunk.end] == chunk.text == chunk.text.strip() for chunk in chunks)
    assert all(config.min_characters <= len(chunk.text) <= config.max_characters for chunk in chunks)
    assert all(before.end <= after.start for before, after in pairwise(chunks))


@given(page_like, st.integers(50, 120))
def test_only_dropped_chunks_lose_text(page: str, limit: int):
    whole = chunk_text(page, ChunkingConfig(max_characters=limit, min_characters=1))
    assert "".join("".join(chunk.text for chunk in whole).split()) == "".join(page.split())
    kept = chunk_text(page, ChunkingConfig(max_characters=limit, min_characters=8), drop_short=True)
    assert kept == [chunk for chunk in whole if len(chunk.text) >= 8]


@given(page_like)
def test_no_chunk_goes_over_a_blank_line_unless_it_joins_a_short_one(page: str):
    blocks = [block for block in page.replace("\r", " ").split("\n\n") if block.strip()]
    if len(blocks) > 1:
        assert all("\n\n" not in chunk.text for chunk in chunk_text(page, ChunkingConfig(min_characters=1)))


@pytest.mark.parametrize("field", [{"max_characters": 49}, {"min_characters": 0}, {"max_chars": 100}])
def test_wrong_configurations_are_refused(field: dict[str, int]):
    with pytest.raises(ValidationError):
        ChunkingConfig.model_validate(field)


def test_every_button_of_the_recorded_pages_is_in_some_chunk():
    if not GOLDEN.is_file():
        pytest.skip("the recorded pages of the original WebShop are not beside the repository")
    pages = 0
    with GOLDEN.open() as file:
        for record in map(json.loads, file):
            for step in record.get("steps", ()):
                chunks: list[Chunk] = chunk_text(step["rich"])
                pages += 1
                for line in step["rich"].splitlines():
                    if "button]" in line:
                        assert any(line.strip() in chunk.text for chunk in chunks)
                if "/search_results/" in step["url"]:
                    products = [chunk for chunk in chunks if chunk.text.count("$")]
                    assert len(products) <= 10
    assert pages > 100


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("a" * 20 + "\n" + "b" * 25 + " " + "c" * 20, ["a" * 20 + "\n" + "b" * 25, "c" * 20]),
        ("a" * 20 + ". " + "b" * 25 + " " + "c" * 20, ["a" * 20 + ". " + "b" * 25, "c" * 20]),
        ("a" * 10 + " " + "b" * 60, ["a" * 10 + " " + "b" * 39, "b" * 21]),
        ("a" * 25 + "\n" + "b" * 40, ["a" * 25, "b" * 40]),
    ],
    ids=["line break", "sentence end", "white space", "at the half itself"],
)
def test_a_break_in_the_first_half_of_the_permitted_length_is_not_taken(page: str, expected: list[str]):
    assert texts(page + "\n\nend of it", max_characters=50) == [*expected, "end of it"]


def test_the_last_break_within_the_length_is_taken_and_ends_of_sentences_go_with_their_sentence():
    page = "a" * 26 + "! " + "b" * 5 + "? " + "c" * 5 + " " + "d" * 30
    assert texts(page + "\n\nend of it", max_characters=50) == [
        "a" * 26 + "! " + "b" * 5 + "?",
        "c" * 5 + " " + "d" * 30,
        "end of it",
    ]


def test_the_lengths_that_a_run_gets_when_it_names_none_stay_what_they_are():
    assert ChunkingConfig().model_dump() == {"max_characters": 1000, "min_characters": 5}
    page = "1234\n\n12345\n\n" + "x" * 1001
    assert texts(page) == ["1234\n\n12345", "x" * 1000, "x"]
    assert texts(page, drop_short=True) == ["12345", "x" * 1000]
    assert chunk_text("1234\n\n12345") == chunk_text("1234\n\n12345", ChunkingConfig())


def test_the_bounds_of_the_lengths_are_taken_and_those_beyond_are_refused():
    for field, allowed, refused in [("max_characters", 50, 49), ("min_characters", 1, 0), ("min_characters", 50, 51)]:
        assert getattr(ChunkingConfig.model_validate({field: allowed}), field) == allowed
        with pytest.raises(ValidationError, match=field):
            ChunkingConfig.model_validate({field: refused})


@pytest.mark.parametrize("end", ["。", "！", "？", "؟", "।", "։"])
def test_sentences_of_other_scripts_end_where_they_end(end: str):
    page = "灰" * 30 + end + "色" * 40
    assert texts(page + "\n\nend of it", max_characters=50) == ["灰" * 30 + end, "色" * 40, "end of it"]


def test_short_pieces_are_joined_to_their_neighbours():
    page = "size\nXL\nDesk Lamp for Women\n$9\n"
    assert [chunk.text for chunk in chunk_text(page)] == ["size\nXL", "Desk Lamp for Women\n$9"]
    long = "x" * 50 + "\n$9\n" + "y" * 50
    tight = ChunkingConfig(max_characters=50)
    assert [chunk.text for chunk in chunk_text(long, tight)] == ["x" * 50, "$9", "y" * 50]


@given(page_like, configs)
def test_nothing_is_lost(page: str, config: ChunkingConfig):
    chunks = chunk_text(page, config)
    assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(page.split())
    assert all(page[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(len(chunk.text) <= config.max_characters for chunk in chunks)
    assert all(before.end <= after.start for before, after in pairwise(chunks))
