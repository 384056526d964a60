from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.grammar.webshop import (
    ShopAction,
    ShopPage,
    abbreviate_products,
    action_type,
    candidate_actions,
    propose_queries,
    strip_instruction,
    webshop_grammar,
)

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "webshop" / "traces_human.jsonl"
INDEX = "WebShop\nInstruction: \na red  chair\n[button] Search [button_]\n"
RESULTS = "Instruction:\na red  chair\n[button] Back to Search [button_]\n\n[button] B01 [button_]\nRed chair\n"
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


instructions = st.text() | st.lists(
    st.sampled_from(["find", "me", "a", "lamp", "desk", "with", "colour:", "grey,", "men's", "2.5", "quick", "release"])
).map(" ".join)


@pytest.mark.parametrize(
    ("instruction", "queries"),
    [
        (
            "Find me height adjustable desk lamps with color: red, and size: 2 pack, and price lower than 9.00 dollars",
            (
                "height adjustable desk lamps color red size 2 pack",
                "height adjustable desk lamps",
                "adjustable desk lamps",
            ),
        ),
        (
            "i am looking for a console table that is easy clean, and price lower than 240.00 dollars",
            ("console table easy clean", "console table", "table"),
        ),
        (
            "Instruction: I'd like to buy long clip-in hair extensions for women under my usual",
            (
                "long clip-in hair extensions women under usual",
                "long clip-in hair extensions",
                "clip-in hair extensions",
            ),
        ),
        ("shoes", ("shoes",)),
        ("a lamp, price below 20 dollars", ("lamp",)),
        ("the of", ("the of", "of")),
        ("!?", ()),
    ],
)
def test_queries_are_the_telling_words_then_the_thing_itself(instruction: str, queries: tuple[str, ...]) -> None:
    assert propose_queries(instruction) == queries


@given(instructions)
def test_queries_are_distinct_and_made_of_the_instructions_own_words(instruction: str) -> None:
    queries = propose_queries(instruction)
    assert len(set(queries)) == len(queries) <= 3
    assert all(word in instruction.lower() for query in queries for word in query.split())
    assert all(queries)


@given(st.lists(st.sampled_from(["lamp", "desk", "grey", "chair", "oak"]), min_size=2, unique=True), st.randoms())
def test_two_telling_words_give_at_least_two_queries(words: list[str], random) -> None:
    filler = [random.choice(["with", "for", "a", "that is", "in", ","]) for _ in words]
    instruction = " ".join(f"{word} {extra}" for word, extra in zip(words, filler, strict=True))
    assert len(propose_queries(instruction)) >= 2


@given(instructions, st.booleans(), st.lists(st.text()))
def test_candidates_are_the_searches_then_the_clicks_in_page_order(
    instruction: str, has_search_bar: bool, clickables: list[str]
) -> None:
    clickables = [*clickables, "search"]
    candidates = candidate_actions(instruction, {"has_search_bar": has_search_bar, "clickables": clickables})
    searches = [f"search[{query}]" for query in propose_queries(instruction)] if has_search_bar else []
    clicks = [f"click[{target}]" for target in dict.fromkeys(clickables) if target != "search"]
    assert list(candidates) == searches + clicks


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("search[desk lamp]", ShopAction.SEARCH),
        ("search[click[buy now]]", ShopAction.SEARCH),
        ("click[b09lm3h2f5]", ShopAction.CLICK_PRODUCT),
        ("click[B09LM3H2F5]", ShopAction.CLICK_PRODUCT),
        ("click[006213524x]", ShopAction.CLICK_PRODUCT),
        ("click[b09lm3h2f]", ShopAction.CLICK_OPTION),
        ("click[multicolor]", ShopAction.CLICK_OPTION),
        ("click[7.5 b(m) us]", ShopAction.CLICK_OPTION),
        ("click[]", ShopAction.CLICK_OPTION),
        ("click[Buy Now]", ShopAction.CLICK_BUY),
        ("click[next >]", ShopAction.CLICK_NEXT),
        ("click[< prev]", ShopAction.CLICK_PREVIOUS),
        ("click[back to search]", ShopAction.CLICK_BACK),
        ("click[description]", ShopAction.CLICK_SUBPAGE),
        ("click[features]", ShopAction.CLICK_SUBPAGE),
        ("click[reviews]", ShopAction.CLICK_SUBPAGE),
        ("click[attributes]", ShopAction.CLICK_SUBPAGE),
    ],
)
def test_an_action_has_the_type_of_what_it_does(action: str, expected: ShopAction) -> None:
    assert action_type(action) is expected


@given(instructions, st.booleans(), st.lists(st.text()))
def test_every_candidate_has_a_type(instruction: str, has_search_bar: bool, clickables: list[str]) -> None:
    available = {"has_search_bar": has_search_bar, "clickables": clickables}
    for candidate in candidate_actions(instruction, available):
        assert (action_type(candidate) is ShopAction.SEARCH) == candidate.startswith("search[")


@pytest.mark.parametrize("action", ["", "buy", "Click[x]", "click[x", "think[x]"])
def test_what_is_no_action_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match=r"is no action; expected 'search\[words\]' or 'click\[target\]'"):
        action_type(action)


def test_all_types_are_listed_once() -> None:
    assert len(set(webshop_grammar.action_types)) == len(webshop_grammar.action_types) == len(ShopAction)


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


def test_products_get_labels_in_page_order_everywhere_and_others_follow() -> None:
    page = "[button] B0TUWK9WE6 [button_]\n[button] 1932415432 [button_]"
    texts = ["before B00000000X\npage 1932415432", "click[b0tuwk9we6]", "b0short B0TUWK9WE6X"]
    assert abbreviate_products(page, texts) == ["before #3\npage #2", "click[#1]", "b0short B0TUWK9WE6X"]


@pytest.mark.parametrize(
    ("actions", "kind"),
    [
        (("search[lamp]",), ShopPage.SEARCH),
        (("click[back to search]", "click[b0aaaaaaaa]"), ShopPage.RESULTS),
        (("click[back to search]", "click[buy now]", "click[red]"), ShopPage.PRODUCT),
        (("click[back to search]", "click[< prev]"), ShopPage.DETAIL),
    ],
)
def test_the_kind_of_page_is_told_from_its_actions(actions: tuple[str, ...], kind: ShopPage) -> None:
    assert webshop_grammar.page_kind(actions) is kind


def test_an_action_is_about_its_target_and_a_chosen_option_about_nothing() -> None:
    page = [
        "[clicked button] red [clicked button_]",
        "[button] blue [button_]",
        "[button] b0aaaaaaaa [button_]",
        "a lamp",
    ]
    assert webshop_grammar.action_words("click[red]", page) == 0.0
    assert webshop_grammar.action_words("click[blue]", page) == "blue"
    assert "a lamp" in str(webshop_grammar.action_words("click[b0aaaaaaaa]", page))
    assert webshop_grammar.action_words("search[lamp]", page) == 1.0
    assert webshop_grammar.action_words("click[buy now]", page) == 0.5


def test_a_task_is_told_without_its_label() -> None:
    assert webshop_grammar.task_text("Instruction: Find me a lamp") == "Find me a lamp"
