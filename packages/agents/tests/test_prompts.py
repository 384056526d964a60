from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.prompts import abbreviate_products, react_history, react_prompt, render_prompt, strip_instruction
from sightline.agents.records import Event, Situation

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "webshop" / "traces_human.jsonl"
INDEX = "WebShop\nInstruction: \na red  chair\n[button] Search [button_]\n"
RESULTS = "Instruction:\na red  chair\n[button] Back to Search [button_]\n\n[button] B01 [button_]\nRed chair\n"
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def test_the_index_page_keeps_its_name_and_loses_the_instruction() -> None:
    assert strip_instruction(INDEX, "a red chair") == "WebShop\n[button] Search [button_]\n"


def test_a_leading_label_of_the_instruction_is_ignored() -> None:
    assert strip_instruction(INDEX, "Instruction: a red chair") == "WebShop\n[button] Search [button_]\n"


def test_a_results_page_loses_heading_and_instruction_but_not_a_product_of_the_same_words() -> None:
    stripped = strip_instruction(RESULTS, "red chair")
    assert stripped == RESULTS  # the page repeats another instruction
    assert strip_instruction(RESULTS, "a red chair") == RESULTS.removeprefix("Instruction:\na red  chair\n")


def test_lines_about_chosen_options_stay() -> None:
    assert strip_instruction("You have clicked red.\n" + RESULTS, "a red chair").startswith(
        "You have clicked red.\n[button] Back"
    )


@given(st.lists(words, min_size=1, max_size=12), st.integers(0, 3), st.lists(words, max_size=6))
def test_stripping_removes_the_repeated_lines_and_nothing_else(task: list[str], breaks: int, page: list[str]) -> None:
    cut = min(breaks, len(task) - 1)
    lines = [" ".join(task[:cut]), " ".join(task[cut:])] if cut else [" ".join(task)]
    before, after = ["You have clicked red."], ["[button] Back to Search [button_]", *page]
    observation = "\n".join([*before, "Instruction:", *lines, *after])
    assert strip_instruction(observation, " ".join(task)) == "\n".join(before + after)


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recorded pages are not beside this repository")
def test_every_recorded_page_loses_exactly_its_two_instruction_lines() -> None:
    pages = 0
    with GOLDEN.open(encoding="utf-8") as file:
        for record in map(json.loads, file):
            if record["kind"] != "episode":
                continue
            for seen in [record["reset"], *record["steps"]]:
                lines = seen["rich"].split("\n")
                headings = [index for index, line in enumerate(lines) if line.strip() == "Instruction:"]
                for heading in headings:
                    del lines[heading : heading + 2]
                pages += len(headings)
                assert strip_instruction(seen["rich"], record["reset"]["instruction"]).split("\n") == lines
    assert pages > 100


def test_a_prompt_begins_with_the_task_and_ends_where_the_action_goes() -> None:
    prompt = render_prompt("Instruction: \n a red\nchair", ["one\n", "two"], [("start\n", "search[red chair]")])
    assert prompt == ("task: a red chair\nbefore:\nstart\naction: search[red chair]\npage:\none\n\ntwo\naction:")


def test_a_whole_page_is_shown_as_it_is() -> None:
    assert render_prompt("buy", ["one\n\ntwo"]) == render_prompt("buy", ["one", "two"])


def test_history_is_stripped_clipped_and_as_long_as_asked() -> None:
    events = (
        Event("OBS", INDEX),
        Event("ACT", "search[chair]"),
        Event("OBS", RESULTS),
        Event("ACT", "click[b01]"),
        Event("OBS", "item page"),
    )
    history = react_history(events, "a red chair", turns=1, max_characters=20)
    assert history == (("[button] Back to ...", "click[b01]"),)
    assert len(react_history(events, "a red chair", turns=9, max_characters=20)) == 2
    assert react_history(events, "a red chair", turns=0, max_characters=20) == ()


def test_react_prompt_shows_the_current_page_once_and_the_history_before_it() -> None:
    situation = Situation(
        "a red chair",
        (Event("OBS", INDEX), Event("ACT", "search[chair]"), Event("OBS", RESULTS)),
        ("click[b01]",),
    )
    prompt = react_prompt(situation, turns=2, max_characters=100)
    assert prompt.count("Red chair") == 1
    assert prompt.index("search[chair]") < prompt.index("Red chair")


def test_products_get_labels_in_page_order_everywhere_and_others_follow() -> None:
    page = "[button] B0TUWK9WE6 [button_]\n[button] 1932415432 [button_]"
    texts = ["before B00000000X\npage 1932415432", "click[b0tuwk9we6]", "b0short B0TUWK9WE6X"]
    assert abbreviate_products(page, texts) == ["before #3\npage #2", "click[#1]", "b0short B0TUWK9WE6X"]
