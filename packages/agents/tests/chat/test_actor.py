from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.chat import AnswerCache
from sightline.agents.chat.actor import ChatActor
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
    assert "names no action from 1 to 3" in told["content"]
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


@pytest.mark.parametrize(("status", "constrained"), [(400, False), (413, True), (422, False)])
def test_a_refused_request_fails_its_own_decision_without_a_second_attempt(
    server: Any, make_actor: MakeActor, status: int, constrained: bool
) -> None:
    server.faults = [str(status)]
    failed, other = make_actor(concurrency=1, constrained=constrained).score(PROMPTS[:2], ACTIONS[:2])
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


def test_answers_are_held_to_a_number_in_range(server: Any, make_actor: MakeActor) -> None:
    make_actor().score(PROMPTS[:1], ACTIONS[:1])
    asked = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert asked["properties"]["action"]["enum"] == [1, 2, 3]
    make_actor(constrained=False).score(PROMPTS[:1], ACTIONS[:1])
    assert "response_format" not in server.requests[1]


@pytest.mark.parametrize("status", ["400", "422"])
def test_a_server_that_refuses_a_form_is_asked_without_and_not_again(
    server: Any, make_actor: MakeActor, status: str, tmp_path: Path
) -> None:
    server.faults = [status]
    actor = make_actor(cache=AnswerCache(tmp_path))
    found = actor.score(PROMPTS[:1], ACTIONS[:1]) + actor.score(PROMPTS[1:], ACTIONS[1:])
    assert ["response_format" in request for request in server.requests] == [True, False, False, False]
    assert [one.error for one in found] == [None] * 3
    # Another actor takes all of them from the cache, before it asks for any form.
    assert make_actor(cache=AnswerCache(tmp_path)).score(PROMPTS, ACTIONS) == found
    assert len(server.requests) == 4


def test_thoughts_in_a_field_of_their_own_are_no_answer_unless_they_are_all_that_was_said(
    server: Any, make_actor: MakeActor
) -> None:
    def reply(**message: Any) -> str:
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return "body " + json.dumps({"choices": [{"message": message, "finish_reason": "length"}], "usage": usage})

    server.faults = [
        reply(content='{"action": 2}', reasoning_content='{"action": 1}'),
        reply(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": '{"action": 3}'}]),
        reply(content=None, reasoning='{"action": 2}'),
        reply(content=None, reasoning_content="Action: 2 looks good, but"),
    ]
    actor = make_actor(reasks=0)
    found = [actor.score(PROMPTS[:1], ACTIONS[:1])[0] for _ in server.faults[:]]
    assert [one.probabilities.index(1.0) for one in found[:3]] == [1, 2, 1]
    assert found[3].error is not None
    assert "thoughts and nothing after them" in found[3].error


def test_a_prompt_without_actions_is_an_error(make_actor: MakeActor) -> None:
    with pytest.raises(ValueError, match="no actions"):
        make_actor().score(["task: x"], [[]])
