from __future__ import annotations

from sightline.agents.grammar import webshop_grammar
from sightline.agents.prompts import react_history, react_prompt, render_prompt, with_tip
from sightline.agents.records import Event, Situation

INDEX = "WebShop\nInstruction: \na red  chair\n[button] Search [button_]\n"
RESULTS = "Instruction:\na red  chair\n[button] Back to Search [button_]\n\n[button] B01 [button_]\nRed chair\n"


def test_a_prompt_begins_with_the_task_and_ends_where_the_action_goes() -> None:
    prompt = render_prompt("a red chair", ["one\n", "two"], [("start\n", "search[red chair]")])
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
    history = react_history(events, "a red chair", webshop_grammar, turns=1, max_characters=20)
    assert history == (("[button] Back to ...", "click[b01]"),)
    assert len(react_history(events, "a red chair", webshop_grammar, turns=9, max_characters=20)) == 2
    assert react_history(events, "a red chair", webshop_grammar, turns=0, max_characters=20) == ()


def test_react_prompt_shows_the_current_page_once_and_the_history_before_it() -> None:
    situation = Situation(
        "a red chair",
        (Event("OBS", INDEX), Event("ACT", "search[chair]"), Event("OBS", RESULTS)),
        ("click[b01]",),
    )
    prompt = react_prompt(situation, webshop_grammar, turns=2, max_characters=100)
    assert prompt.count("Red chair") == 1
    assert prompt.index("search[chair]") < prompt.index("Red chair")


def test_a_tip_is_the_last_line_before_the_action() -> None:
    prompt = render_prompt("a red chair", ["one"], tip="take  the\nred one")
    assert prompt == "task: a red chair\npage:\none\ntip: take the red one\naction:"
    assert with_tip(render_prompt("a red chair", ["one"]), "take the red one") == prompt
