"""The server of these tests is a real one on a local port: a small language model chooses, its tokenizer counts."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sightline.agents import ChatActor, LanguageModelActor
from sightline.agents.chat import AnswerCache, ChatConfig, TokenLedger
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student import PACKAGED_STUDENT


class ChatServer(ThreadingHTTPServer):
    """Serves the model's choice as a chat API, and misbehaves as `faults` say, one for each request, first to last."""

    daemon_threads = True

    def __init__(self, model: Any) -> None:
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


@pytest.fixture(scope="package")
def student() -> Any:
    """The packaged student as the actor that the server asks."""
    return LanguageModelActor(PACKAGED_STUDENT, device="cpu")


@pytest.fixture
def server(student: Any) -> Iterator[ChatServer]:
    with ChatServer(student) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def make_actor(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatActor]]:
    """Makes actors that ask the server; pauses between their attempts are short."""
    from sightline.agents.chat import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)
    opened: list[ChatActor] = []

    def make(*, cache: AnswerCache | None = None, ledger: TokenLedger | None = None, **options: Any) -> ChatActor:
        config = ChatConfig.model_validate({"model": "tiny", "base_url": server.url, "max_retries": 2} | options)
        opened.append(ChatActor(config, role=webshop_grammar.role, api_key="key", cache=cache, ledger=ledger))
        return opened[-1]

    yield make
    for actor in opened:
        actor.close()
