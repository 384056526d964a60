from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from sightline.agents.chat import ChatActor, parse_choice


class ChatServer(ThreadingHTTPServer):
    """A small chat API: answers with ``respond(request)``, after ``failures`` errors of status 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, str] = {}
        self.default = '{"action": 1}'
        self.failures = 0
        self.usage: dict[str, int] | None = {"prompt_tokens": 41, "completion_tokens": 6, "total_tokens": 47}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append(request)
        if server.failures:
            server.failures -= 1
            self._send(503, {"error": {"message": "busy"}})
            return
        question = request["messages"][-1]["content"]
        text = next((value for key, value in server.answers.items() if key in question), server.default)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}
        self._send(200, body | ({"usage": server.usage} if server.usage else {}))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        pass


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def actor(server: ChatServer) -> Iterator[ChatActor]:
    with ChatActor("tiny", server.url, "key", max_retries=2) as opened:
        yield opened


def test_the_answered_number_becomes_a_certain_choice_with_the_reported_tokens(
    server: ChatServer, actor: ChatActor
) -> None:
    server.answers = {"red chair": '{"action": 2}', "blue lamp": "3"}
    found = actor.score(
        ["task: red chair\npage:\n\naction:", "task: blue lamp\npage:\n\naction:"],
        [["click[a]", "click[b]"], ["click[a]", "click[b]", "click[c]"]],
    )
    assert [distribution.probabilities for distribution in found] == [(0.0, 1.0), (0.0, 0.0, 1.0)]
    assert {(d.prompt_tokens, d.completion_tokens) for d in found} == {(41, 6)}
    assert actor.parse_failures == 0


def test_the_question_lists_every_action_with_its_number(server: ChatServer, actor: ChatActor) -> None:
    actor.score(["task: x\naction:"], [["click[a]", "search[b c]"]])
    question = server.requests[0]["messages"][-1]["content"]
    assert question == "task: x\npossible actions:\n1. click[a]\n2. search[b c]"


def test_an_answer_that_names_no_action_is_counted_and_gives_no_action_preference(
    server: ChatServer, actor: ChatActor
) -> None:
    server.default = "I would buy it"
    (distribution,) = actor.score(["task: x\naction:"], [["click[a]", "click[b]"]])
    assert distribution.probabilities == (0.5, 0.5)
    assert actor.parse_failures == 1


def test_a_passing_failure_is_retried(server: ChatServer, actor: ChatActor) -> None:
    server.failures = 1
    (distribution,) = actor.score(["task: x\naction:"], [["click[a]"]])
    assert distribution.probabilities == (1.0,)
    assert len(server.requests) == 2


def test_a_lasting_failure_is_raised_after_the_retries(server: ChatServer, actor: ChatActor) -> None:
    server.failures = 100
    with pytest.raises(openai.InternalServerError, match="busy"):
        actor.score(["task: x\naction:"], [["click[a]"]])
    assert len(server.requests) == 3


def test_a_server_that_hides_its_token_usage_is_refused(server: ChatServer, actor: ChatActor) -> None:
    server.usage = None
    with pytest.raises(RuntimeError, match="no token usage"):
        actor.score(["task: x\naction:"], [["click[a]"]])


@pytest.mark.parametrize(("text", "index"), [("2", 1), (" 3\n", 2), ('{"action": 1}', 0), ('{"action":3,"why":""}', 2)])
def test_a_number_or_json_with_a_number_is_understood(text: str, index: int) -> None:
    assert parse_choice(text, 3) == index


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "4", "-1", "1.", "2 or 3", "action 2", "²", "[1]", "null", "NaN", "9" * 5000, "[" * 5000),
        *('{"action": true}', '{"action": "2"}', '{"action": 1.0}', '{"choice": 1}'),
    ],
)
def test_everything_else_is_not(text: str) -> None:
    assert parse_choice(text, 3) is None
