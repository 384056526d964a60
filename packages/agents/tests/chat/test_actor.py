"""The server of these tests is a real one on a local port: a small language model chooses, its tokenizer counts."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from sightline.agents.actors.language_model import LanguageModelActor
from sightline.agents.chat import client as chat_client
from sightline.agents.chat.actor import ChatActor
from sightline.agents.chat.cache import AnswerCache
from sightline.agents.chat.client import MalformedAnswerError, MissingUsageError
from sightline.agents.chat.ledger import TokenLedger
from sightline.agents.chat.prices import TokenPrices
from sightline.agents.reading.agent import baseline_react
from sightline.agents.rollout.rollout import roll_out
from sightline.agents.student.config import PACKAGED_STUDENT

PAGE = "[button] Back to Search [button_]\n[button] red [button_]\nWool scarf\n$12.50\n"
PROMPTS = [f"task: find me a {wanted}\npage:\n{PAGE}action:" for wanted in ("red scarf", "blue lamp", "green kettle")]
ACTIONS = [
    ["click[back to search]", "click[red]", "click[buy now]"],
    ["search[blue lamp]", "click[back to search]"],
    ["click[< prev]", "click[red]", "click[description]", "search[green kettle]"],
]

MakeActor = Callable[..., ChatActor]


class ChatServer(ThreadingHTTPServer):
    """Serves the model's choice as a chat API, and misbehaves as `faults` say, one for each request, first to last."""

    daemon_threads = True

    def __init__(self, model: LanguageModelActor) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.model = model
        self.lock = threading.Lock()
        self.faults: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.spent = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
        self.released = threading.Event()
        self.together: threading.Barrier | None = None
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def choose(self, question: str) -> str:
        prompt, _, listed = question.partition("possible actions:\n")
        actions = [line.partition(". ")[2] for line in listed.split("\n")]
        (distribution,) = self.model.score([f"{prompt}action:"], [actions])
        return json.dumps({"action": 1 + distribution.probabilities.index(max(distribution.probabilities))})

    def usage(self, request: dict[str, Any], text: str) -> dict[str, Any]:
        system, *others = (len(self.model.tokenizer(one["content"])["input_ids"]) for one in request["messages"])
        spent = {
            "prompt_tokens": system + sum(others),
            "completion_tokens": len(self.model.tokenizer(text)["input_ids"]),
            "cached_tokens": system,
        }
        self.spent = {name: total + spent[name] for name, total in self.spent.items()}
        cached = spent.pop("cached_tokens")
        return {**spent, "total_tokens": sum(spent.values()), "prompt_tokens_details": {"cached_tokens": cached}}

    def response(self, request: dict[str, Any], fault: str) -> tuple[int, dict[str, str], bytes]:
        """Faults are a status, perhaps with a Retry-After after a space, a body, or the text of an answer."""
        kind, _, rest = fault.partition(" ")
        if kind.isdigit():
            headers = {"Retry-After": rest} if rest else {}
            return int(kind), headers, json.dumps({"error": {"message": f"fault {kind}"}}).encode()
        if kind == "body":
            return 200, {"Content-Type": "text/html"} if rest.startswith("<") else {}, rest.encode()
        if kind in ("hang", "reset"):
            return 200, {}, b""
        text = rest if kind == "say" else self.choose(request["messages"][1]["content"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}
        if kind != "no-usage":
            reply["usage"] = self.usage(request, text)
        return 200, {}, json.dumps(reply).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that hang up."""


class ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(request)
            server.times.append(time.monotonic())
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = server.faults.pop(0) if server.faults else ""
        if server.together:
            server.together.wait(timeout=60)
        with server.lock:  # the model answers one request at a time
            server.in_flight -= 1
            status, headers, body = server.response(request, fault)
        if fault == "hang":
            server.released.wait()
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Keeps the test's output clean."""


@pytest.fixture(scope="module")
def student() -> LanguageModelActor:
    return LanguageModelActor(PACKAGED_STUDENT, device="cpu")


@pytest.fixture
def server(student: LanguageModelActor) -> Iterator[ChatServer]:
    with ChatServer(student) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def make_actor(server: ChatServer) -> Iterator[MakeActor]:
    opened: list[ChatActor] = []

    def make(*, max_retries: int = 2, **options: Any) -> ChatActor:
        opened.append(ChatActor("tiny", server.url, "key", max_retries=max_retries, **options))
        return opened[-1]

    yield make
    for actor in opened:
        actor.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_PAUSE", 0.01)


def test_the_action_that_the_served_model_prefers_is_certain(
    server: ChatServer, make_actor: MakeActor, student: LanguageModelActor
) -> None:
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


def test_the_question_lists_every_action_on_a_line_with_its_number(server: ChatServer, make_actor: MakeActor) -> None:
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
    server: ChatServer, make_actor: MakeActor
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
    server: ChatServer, make_actor: MakeActor
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
    server: ChatServer, make_actor: MakeActor, toys: ModuleType
) -> None:
    server.faults = ["say no", "", "", "say no"]  # the first episode's question, the others', the first's again
    agent = baseline_react(make_actor(concurrency=1), history_turns=1, history_characters=50)
    failed, *others = roll_out(toys.corridors(3), agent, [0, 1, 2], seed=0, max_steps=6, progress=False)
    assert failed.error is not None
    assert failed.error.startswith("ParseFailure: ")
    assert failed.steps == ()
    assert [(one.error, one.terminated) for one in others] == [(None, True)] * 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_fails_its_own_decision_without_a_second_attempt(
    server: ChatServer, make_actor: MakeActor, status: int
) -> None:
    server.faults = [str(status)]
    failed, other = make_actor(concurrency=1).score(PROMPTS[:2], ACTIONS[:2])
    assert failed.probabilities == ()
    assert failed.error is not None
    assert f"fault {status}" in failed.error
    assert sum(other.probabilities) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "fault",
    ["408", "429", "429 0", "500", "503 soon", "hang", "reset", 'body {"choices": [', "body {}", "body <html>busy"],
)
def test_a_passing_fault_costs_another_attempt(server: ChatServer, make_actor: MakeActor, fault: str) -> None:
    server.faults = [fault, "say 2"]
    (found,) = make_actor(timeout=5).score(PROMPTS[:1], ACTIONS[:1])
    assert found.probabilities == (0, 1, 0)
    assert len(server.requests) == 2


def test_the_wish_of_the_server_for_a_pause_is_granted(server: ChatServer, make_actor: MakeActor) -> None:
    server.faults = ["429 0.4"]
    make_actor().score(PROMPTS[:1], ACTIONS[:1])
    assert server.times[1] - server.times[0] >= 0.4


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("500", openai.InternalServerError),
        ("429", openai.RateLimitError),
        ("reset", openai.APIConnectionError),
        ("body {}", MalformedAnswerError),
    ],
)
def test_a_lasting_fault_is_raised_after_the_retries(
    server: ChatServer, make_actor: MakeActor, fault: str, error: type[Exception]
) -> None:
    server.faults = [fault] * 10
    with pytest.raises(error):
        make_actor().score(PROMPTS[:1], ACTIONS[:1])
    assert len(server.requests) == 3


def test_a_wrong_key_is_raised_at_once_and_what_is_under_way_is_given_up(
    server: ChatServer, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["hang", "401"]
    server.together = threading.Barrier(2)
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    with pytest.raises(openai.AuthenticationError, match="fault 401"):
        make_actor(ledger=ledger, concurrency=2).score(PROMPTS, ACTIONS)
    assert len(server.requests) == 2
    assert {(row.error or "").partition(":")[0] for row in ledger.rows()} == {"AuthenticationError", "CancelledError"}


def test_a_server_that_hides_its_token_usage_is_refused_and_its_cost_stays_unknown(
    server: ChatServer, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["no-usage"]
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    with pytest.raises(MissingUsageError, match="no token usage"):
        make_actor(ledger=ledger).score(PROMPTS[:1], ACTIONS[:1])
    (row,) = ledger.rows()
    assert (row.prompt_tokens, row.cost) == (None, None)
    assert len(server.requests) == 1


def test_as_many_requests_as_allowed_are_under_way_and_no_more(server: ChatServer, make_actor: MakeActor) -> None:
    server.together = threading.Barrier(3)  # no request is answered before three are under way
    assert len(make_actor(concurrency=3).score(PROMPTS * 3, ACTIONS * 3)) == 9
    assert server.most_in_flight == 3


def test_calls_from_other_event_loops_share_the_bound_and_give_the_same(
    server: ChatServer, make_actor: MakeActor
) -> None:
    actor = make_actor(concurrency=2)

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(actor.ascore(PROMPTS, ACTIONS), actor.ascore(PROMPTS, ACTIONS))

    one, other = asyncio.run(both())
    assert one == other == actor.score(PROMPTS, ACTIONS)
    assert server.most_in_flight <= 2


def test_an_answered_request_is_never_sent_again_even_after_a_restart(
    server: ChatServer, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["say prose"]
    first = make_actor(cache=AnswerCache(tmp_path), concurrency=1)
    found = first.score(PROMPTS, ACTIONS)
    assert len(server.requests) == 4
    assert first.score(PROMPTS, ACTIONS) == found
    first.close()
    second = make_actor(cache=AnswerCache(tmp_path))
    assert second.score(PROMPTS, ACTIONS) == found
    assert len(server.requests) == 4
    assert (first.cache_hits, second.cache_hits) == (4, 4)
    assert second.parse_failures == 1


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"temperature": None}, {"parameters": {"seed": 1}}])
def test_other_parameters_make_another_request(
    server: ChatServer, make_actor: MakeActor, tmp_path: Path, options: dict[str, Any]
) -> None:
    make_actor(cache=AnswerCache(tmp_path)).score(PROMPTS[:1], ACTIONS[:1])
    make_actor(cache=AnswerCache(tmp_path), **options).score(PROMPTS[:1], ACTIONS[:1])
    assert len(server.requests) == 2


def test_the_ledger_agrees_with_the_servers_own_count(
    server: ChatServer, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["500", "say prose", "429", "reset"]
    prices = TokenPrices(prompt=3.0, completion=15.0, cached=0.3)
    ledger = TokenLedger(tmp_path / "ledger.jsonl", prices)
    make_actor(ledger=ledger, cache=AnswerCache(tmp_path / "cache"), max_retries=5).score(PROMPTS * 2, ACTIONS * 2)
    found = ledger.summary()
    assert found.attempts == len(server.requests)
    assert found.unanswered == 0
    assert found.requests == found.attempts - 3
    spent = server.spent
    assert {name: getattr(found, name) for name in spent} == spent
    fresh = spent["prompt_tokens"] - spent["cached_tokens"]
    expected = (fresh * 3.0 + spent["cached_tokens"] * 0.3 + spent["completion_tokens"] * 15.0) / 1e6
    assert found.cost == pytest.approx(expected)
    names = {path.stem for path in (tmp_path / "cache").rglob("*.json")}
    assert {row.request for row in ledger.rows()} == names


def test_a_closed_actor_says_so(make_actor: MakeActor) -> None:
    actor = make_actor()
    actor.close()
    actor.close()
    with pytest.raises(RuntimeError, match="closed"):
        actor.score(PROMPTS, ACTIONS)


def test_closing_ends_a_call_that_is_under_way(server: ChatServer, make_actor: MakeActor) -> None:
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
