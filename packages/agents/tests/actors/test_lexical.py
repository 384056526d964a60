from __future__ import annotations

import pytest

from sightline.agents.actors.lexical import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.prompts import render_prompt

RESULTS = """[button] Back to Search [button_]
Page 1 (Total results: 50)
[button] Next > [button_]

[button] B000000001 [button_]
Blue desk lamp with clip
$10.0

[button] B000000002 [button_]
Red dining chair for kitchen
$12.0
"""
ITEM = (
    "[button] < Prev [button_]\ncolor\n  {} {} {}\n  [button] blue [button_]\nDining chair\n[button] Buy Now [button_]"
)


def best(prompt: str, actions: list[str]) -> str:
    (distribution,) = LexicalActor(webshop_grammar).score([prompt], [actions])
    return max(zip(distribution.probabilities, actions, strict=True))[1]


def test_the_product_whose_title_shares_most_words_with_the_task_wins() -> None:
    actions = ["click[back to search]", "click[next >]", "click[b000000001]", "click[b000000002]"]
    assert best(render_prompt("I want a red dining chair", [RESULTS]), actions) == "click[b000000002]"


def test_it_searches_where_it_can() -> None:
    assert best(render_prompt("a chair", ["WebShop"]), ["click[features]", "search[chair]"]) == "search[chair]"


@pytest.mark.parametrize(
    ("open_", "close", "expected"),
    [("[button]", "[button_]", "click[red]"), ("[clicked button]", "[clicked button_]", "click[buy now]")],
)
def test_it_chooses_the_named_option_first_and_then_buys(open_: str, close: str, expected: str) -> None:
    prompt = render_prompt("a red dining chair", [ITEM.format(open_, "red", close)])
    assert best(prompt, ["click[< prev]", "click[red]", "click[blue]", "click[buy now]"]) == expected


def test_probabilities_sum_to_one_and_candidates_are_read_too() -> None:
    (distribution,) = LexicalActor(webshop_grammar).score(
        ["task: a chair\npage:\naction:"], [["click[buy now]", "click[a]"]]
    )
    assert sum(distribution.probabilities) == pytest.approx(1)
    assert distribution.prompt_tokens == 17
    assert distribution.completion_tokens == 5


def test_without_sharpness_all_actions_are_equally_likely() -> None:
    (distribution,) = LexicalActor(webshop_grammar, sharpness=0).score(
        ["task: red\npage:\naction:"], [["click[red]", "click[blue]"]]
    )
    assert distribution.probabilities == (0.5, 0.5)
