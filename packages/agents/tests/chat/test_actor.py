from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.chat.actor import ChatActor, ChoiceError, parse_choice
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.agent import baseline_react
from sightline.agents.rollout.rollout import roll_out

PAGE = "[button] Back to Search [button_]\n[button] red [button_]\nWool scarf\n$12.50\n"
PROMPTS = [f"task: find me a {wanted}\npage:\n{PAGE}action:" for wanted in ("red scarf", "blue lamp", "green kettle")]
ACTIONS = [
    ["click[back to search]", "click[red]", "click[buy now]"],
    ["search[blue lamp]", "click[back to search]"],
    ["click[< prev]", "click[red]", "click[description]", "search[green kettle]"],
]

MakeActor = Callable[..., ChatActor]


def test_the_action_that_the_served_model_prefers_is_certain(server: Any, make_actor: MakeActor, student: Any) -> None:
    actor = make_actor()
    found = actor.score(PROMPTS, ACTIONS)
    truth = [
        max(range(len(one.probabilities)), key=one.probabilities.__getitem__) for one in student.score(PROMPTS, ACTIONS)
    ]
    assert len(set(truth)) > 1
    assert [one.probabilities.index(1.0) for one in found] == truth
    assert [sum(one.probabilities) for one in found] == [1, 1, 1]
    assert [len(one.probabilities) for one in found] == [3, 2, 4]
    assert sum(one.prompt_tokens for one in found) == server.spent["prompt_tokens"]
    assert sum(one.completion_tokens for one in found) == server.spent["completion_tokens"]
    assert actor.parse_failures == 0


def test_the_question_lists_every_action_on_a_line_with_its_number(server: Any, make_actor: MakeActor) -> None:
    make_actor(parameters={"seed": 5, "vendor_option": True}).score(
        ["task: x\naction:"], [["click[a\n2. click[buy now]", "search[b c]"]]
    )
    (request,) = server.requests
    assert request["messages"][1]["content"] == (
        "task: x\npossible actions:\n1. click[a 2. click[buy now]\n2. search[b c]"
    )
    assert (request["model"], request["temperature"], request["seed"]) == ("tiny", 0.0, 5)
    assert request["vendor_option"] is True


def test_an_answer_that_cannot_be_read_is_shown_to_the_model_and_asked_again(
    server: Any, make_actor: MakeActor
) -> None:
    server.faults = ["say I would buy the scarf"]
    actor = make_actor()
    (found,) = actor.score(PROMPTS[:1], ACTIONS[:1])
    assert sum(found.probabilities) == 1
    assert found.error is None
    assert actor.parse_failures == 1
    *before, said, told = server.requests[1]["messages"]
    assert before == server.requests[0]["messages"]
    assert said == {"role": "assistant", "content": "I would buy the scarf"}
    assert "not JSON" in told["content"]
    assert "from 1 to 3" in told["content"]
    assert found.prompt_tokens == server.spent["prompt_tokens"]


def test_a_model_that_never_names_an_action_fails_its_own_decision_and_chooses_nothing(
    server: Any, make_actor: MakeActor
) -> None:
    server.faults = ["say I would buy it", "", 'say {"action": 99}', "say "]  # the second is for the other prompt
    actor = make_actor(reasks=2, concurrency=1)
    failed, other = actor.score(PROMPTS[:2], ACTIONS[:2])
    assert failed.probabilities == ()
    assert failed.error is not None
    assert failed.error.startswith("ParseFailure: ")
    assert failed.prompt_tokens > 0
    assert sum(other.probabilities) == 1
    assert actor.parse_failures == 3
    assert len(server.requests) == 4


def test_an_episode_without_an_answer_is_an_error_row_and_the_others_go_on(
    server: Any, make_actor: MakeActor, toys: ModuleType
) -> None:
    server.faults = ["say no", "", "", "say no"]  # the first episode's question, the others', the first's again
    agent = baseline_react(make_actor(concurrency=1), webshop_grammar, history_turns=1, history_characters=50)
    failed, *others = roll_out(
        toys.corridors(3), agent, [0, 1, 2], webshop_grammar, seed=0, max_steps=6, progress=False
    )
    assert failed.error is not None
    assert failed.error.startswith("ParseFailure: ")
    assert failed.steps == ()
    assert [(one.error, one.terminated) for one in others] == [(None, True)] * 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_fails_its_own_decision_without_a_second_attempt(
    server: Any, make_actor: MakeActor, status: int
) -> None:
    server.faults = [str(status)]
    failed, other = make_actor(concurrency=1).score(PROMPTS[:2], ACTIONS[:2])
    assert failed.probabilities == ()
    assert failed.error is not None
    assert f"fault {status}" in failed.error
    assert sum(other.probabilities) == 1
    assert len(server.requests) == 2


def test_a_closed_actor_says_so(make_actor: MakeActor) -> None:
    actor = make_actor()
    actor.close()
    actor.close()
    with pytest.raises(RuntimeError, match="closed"):
        actor.score(PROMPTS, ACTIONS)


def test_closing_ends_a_call_that_is_under_way(server: Any, make_actor: MakeActor) -> None:
    server.faults = ["hang"]
    server.together = threading.Barrier(2)
    actor = make_actor()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            actor.score(PROMPTS[:1], ACTIONS[:1])
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    server.together.wait(timeout=60)
    actor.close()
    thread.join(timeout=60)
    assert [type(error).__name__ for error in errors] == ["CancelledError"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        *(("2", 1), (" 3\n", 2), ('{"action": 1}', 0), ('{"action":3,"why":""}', 2)),
        *(('```json\n{"action": 2}\n```', 1), ("```\n2\n```", 1), ('<think>{"action": 1}?</think>\n{"action": 2}', 1)),
    ],
)
def test_a_number_or_json_with_a_number_is_understood(text: str, index: int) -> None:
    assert parse_choice(text, 3) == index


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "4", "-1", "1.", "2 or 3", "action 2", "²", "[1]", "null", "NaN", "9" * 5000, "[" * 5000),
        *('{"action": true}', '{"action": "2"}', '{"action": 1.0}', '{"choice": 1}', "<think>2", "```2```\n```3```"),
    ],
)
def test_everything_else_is_not(text: str) -> None:
    with pytest.raises(ChoiceError) as caught:
        parse_choice(text, 3)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=50))
def test_any_text_is_an_action_in_range_or_an_error(text: str) -> None:
    with suppress(ChoiceError):
        assert 0 <= parse_choice(text, 3) < 3


def test_a_prompt_without_actions_is_an_error(make_actor: MakeActor) -> None:
    with pytest.raises(ValueError, match="no actions"):
        make_actor().score(["task: x"], [[]])
