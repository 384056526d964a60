from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.grammar.actions import ACTION_TYPES, ActionType, action_type, candidate_actions, propose_queries

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
        ("search[desk lamp]", ActionType.SEARCH),
        ("search[click[buy now]]", ActionType.SEARCH),
        ("click[b09lm3h2f5]", ActionType.CLICK_PRODUCT),
        ("click[B09LM3H2F5]", ActionType.CLICK_PRODUCT),
        ("click[006213524x]", ActionType.CLICK_PRODUCT),
        ("click[b09lm3h2f]", ActionType.CLICK_OPTION),
        ("click[multicolor]", ActionType.CLICK_OPTION),
        ("click[7.5 b(m) us]", ActionType.CLICK_OPTION),
        ("click[]", ActionType.CLICK_OPTION),
        ("click[Buy Now]", ActionType.CLICK_BUY),
        ("click[next >]", ActionType.CLICK_NEXT),
        ("click[< prev]", ActionType.CLICK_PREVIOUS),
        ("click[back to search]", ActionType.CLICK_BACK),
        ("click[description]", ActionType.CLICK_SUBPAGE),
        ("click[features]", ActionType.CLICK_SUBPAGE),
        ("click[reviews]", ActionType.CLICK_SUBPAGE),
        ("click[attributes]", ActionType.CLICK_SUBPAGE),
    ],
)
def test_an_action_has_the_type_of_what_it_does(action: str, expected: ActionType) -> None:
    assert action_type(action) is expected


@given(instructions, st.booleans(), st.lists(st.text()))
def test_every_candidate_has_a_type(instruction: str, has_search_bar: bool, clickables: list[str]) -> None:
    available = {"has_search_bar": has_search_bar, "clickables": clickables}
    for candidate in candidate_actions(instruction, available):
        assert (action_type(candidate) is ActionType.SEARCH) == candidate.startswith("search[")


@pytest.mark.parametrize("action", ["", "buy", "Click[x]", "click[x", "think[x]"])
def test_what_is_no_action_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match=r"is no action; expected 'search\[words\]' or 'click\[target\]'"):
        action_type(action)


def test_all_types_are_listed_once() -> None:
    assert len(set(ACTION_TYPES)) == len(ACTION_TYPES) == len(ActionType)
