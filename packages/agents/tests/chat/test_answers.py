from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.chat.answers import ChoiceError, choice_format, parse_choice

ACTIONS = ["click[back to search]", "click[red]", "click[buy now]"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        *(("2", 1), (" 3\n", 2), ('"2"', 1), ("'2'", 1), ("2.", 1), ("#2", 1), ("**2**", 1), ("[3]", 2)),
        *(('{"action": 1}', 0), ('{"action":3,"why":""}', 2), ('{"action": "2"}', 1), ('{"action": 1.0}', 0)),
        *(('{"action": "click[red]"}', 1), ('{"action": "2. click[red]"}', 1), ('{"choice": 1}', 0)),
        *(('```json\n{"action": 2}\n```', 1), ("```\n2\n```", 1), ('<think>{"action": 1}?</think>\n{"action": 2}', 1)),
        *(("Action: 3", 2), ("action: #3", 2), ("**Action:** 3", 2), ("The best action is 2.", 1), ("Answer = 2", 1)),
        *(("Action: click[red]", 1), ('Action: "click[Buy  Now]"', 2), ("My thoughts.\nAction: 2\nAction: 3", 1)),
        *(("click[red]", 1), ("`Click[Red]`", 1), ("2. click[red]", 1), ("2 (click[red])", 1), ("click[red].", 1)),
        *(('The user wants red: {"action": 2}. Done.', 1), ('{"action": 2}\n{"action": 3}', 1), ("I take action 2", 1)),
        *(('{"page": {}} {"action": 3}', 2), ('{"action": 2, "action": 3}', 1), ('{"action": [2, 3]}', 1)),
        *(("2<|im_end|>", 1), ('{"action": 2}</s>', 1), ("So I choose:\n- click[red]\nGood luck!", 1)),
        *(("<think>Action: 1 is wrong</think>Action: 2", 1), ('<think>{"action": 2}', 1)),
    ],
)
def test_every_unambiguous_answer_is_understood(text: str, index: int) -> None:
    assert parse_choice(text, ACTIONS) == index


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "4", "-1", "2 or 3", "²", "null", "NaN", "9" * 5000, "[" * 5000, "[]", "2.5", "{", "2 3"),
        *('{"action": true}', '{"action": 9}', '{"action": 1.5}', '{"choice": {}}', '{"reason": 2}', '{"action": "4"}'),
        *("<think>2", "<think>I take action 2", "```2```\n```3```", "action 2 or action 3", "Action: 2 or 3"),
        *("2. click[buy now]", "I would never click[buy now]", '{"action": 9} {"action": 2}', "Action: buy", "page 2"),
    ],
)
def test_everything_else_is_not(text: str) -> None:
    with pytest.raises(ChoiceError) as caught:
        parse_choice(text, ACTIONS)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=50))
def test_any_text_is_an_action_in_range_or_an_error(text: str) -> None:
    with suppress(ChoiceError):
        assert 0 <= parse_choice(text, ACTIONS) < 3


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=9), st.data())
def test_every_number_in_every_form_names_its_action(actions: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(actions) - 1))
    form = data.draw(st.sampled_from(['{{"action": {}}}', '{{"action": "{}"}}', "Action: {}", 'So: {{"action": {}}}!']))
    assert parse_choice(form.format(index + 1), actions) == index


def test_the_form_allows_each_number_and_no_other() -> None:
    schema = choice_format(3)["json_schema"]
    assert isinstance(schema, dict)
    assert "[1, 2, 3]" in str(schema)
