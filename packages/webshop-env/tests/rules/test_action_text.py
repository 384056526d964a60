from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Shop
from sightline.webshop_env.rules import Page
from sightline.webshop_env.rules.action_text import action_error, repair_action


def page_after(shop: Shop, *actions: str) -> Page:
    state = shop.start(0)
    for action in actions:
        state, _ = shop.act(state, action)
    return shop.page(state)


@given(st.text(max_size=30) | st.sampled_from(["search[x]", "click[b0lamp]", "click[red]", "click[search]", "buy[x]"]))
def test_there_is_an_error_exactly_where_the_shop_calls_the_action_invalid(shop: Shop, action: str) -> None:
    for past in ([], ["search[lamp]"], ["search[lamp]", "click[b0lamp]"]):
        state = shop.start(0)
        for each in past:
            state, _ = shop.act(state, each)
        _, outcome = shop.act(state, action)
        assert (action_error(shop.page(state), action) is None) == outcome.valid


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("look around", "an action is search[words] or click[label], not 'look around'"),
        ("buy[b0lamp]", "there is no action 'buy'; there are search[words] and click[label]"),
        (" click[b0lamp]", "there is no action ' click'"),
        ("click[b0lump]", "did you mean click[b0lamp]?"),
        ("click[zzz]", "it offers 'back to search'"),
        ("search[" + "a" * 20_000 + "]", "at most"),
    ],
)
def test_an_error_says_what_was_wrong_and_what_there_is(shop: Shop, action: str, message: str) -> None:
    error = action_error(page_after(shop, "search[lamp]"), action)
    assert error is not None
    assert message in error
    assert len(error) < 600


WRAPPED = [
    (" click[b0lamp] ", "left out what stands around the action"),
    ("click [b0lamp]", "left out what stands around the action"),
    ("Click[ B0LAMP ]", "left out what stands around the action"),
    ("Action: click[b0lamp]", "left out what stands before the action"),
    ("I should look at the lamp.\nAction: click[b0lamp]", "left out what stands before the action"),
    ("```\nclick[b0lamp]\n```", "took the text out of its code fence"),
    ('```json\n{"action": "click[b0lamp]"}\n```', "read a JSON tool call"),
    (json.dumps({"name": "click", "arguments": {"label": "b0lamp"}}), "read a JSON tool call"),
    (json.dumps({"function": {"name": "click", "arguments": '{"x": "b0lamp"}'}}), "read a JSON tool call"),
    ("click('b0lamp')", "took brackets for parentheses"),
    ("I will click[b0lamp] now.", "left out what stands around the action"),
]


@pytest.mark.parametrize(("text", "repair"), WRAPPED)
def test_a_wrapped_action_is_unwrapped_and_what_was_done_is_said(shop: Shop, text: str, repair: str) -> None:
    page = page_after(shop, "search[lamp]")
    repaired = repair_action(page, text)
    assert repaired.action.lower().replace(" ", "") == "click[b0lamp]"
    assert repair in repaired.repairs
    assert action_error(page, repaired.action) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "click[b0lump]",
        "click[red] or click[blue]",
        "{" * 5000,
        "[1, 2]",
        "null",
        '{"name": "click"}',
    ],
)
def test_what_cannot_be_understood_is_left_as_it_is(shop: Shop, text: str) -> None:
    page = page_after(shop, "search[lamp]", "click[b0lamp]")
    assert repair_action(page, text) == (text, ())


@given(st.text(max_size=40))
def test_repairing_never_raises_and_never_changes_a_valid_action(shop: Shop, text: str) -> None:
    for past in ([], ["search[lamp]"], ["search[lamp]", "click[b0lamp]"]):
        page = page_after(shop, *past)
        repaired = repair_action(page, text)
        if action_error(page, text) is None:
            assert repaired == (text, ())
        assert (action_error(page, repaired.action) is None) or repaired == (text, ())
