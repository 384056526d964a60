"""The shop in verifiers' own environment: its loader, its agent and its harness, with a scripted model behind HTTP.

uv run --with 'verifiers>=0.4' pytest -m slow packages/webshop-env/tests/adapters/test_verifiers.py

Its harness is a script that `uv` runs in a process of its own, with packages of its own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Shop, render_rich
from sightline.webshop_env.adapters.shops import shared_shop
from sightline.webshop_env.episodes import best_action

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("verifiers") is None, reason="verifiers is not installed"),
    pytest.mark.filterwarnings("default"),  # verifiers and its servers warn of their own affairs
]

MODULE = """
from sightline.webshop_env.adapters.verifiers import ShopEnv, ShopTaskset

__all__ = ["ShopEnv", "ShopTaskset"]
"""
TASKSET: dict[str, Any] = {"id": "a_shop_of_forty", "products": 40, "step_limit": 8}


@pytest.fixture
def shop() -> Shop:
    return shared_shop(products=40, step_limit=8)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "a_shop_of_forty.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("a_shop_of_forty", None)


def completion(text: str) -> bytes:
    """A chat completion, as OpenAI's protocol has it."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "scripted", "usage": usage}
    return json.dumps(head | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def chunks(text: str) -> bytes:
    """The same as a stream of events."""
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    delta = {"role": "assistant", "content": text}
    events: list[dict[str, Any]] = [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


@pytest.fixture
def model(shop: Shop) -> Iterator[Callable[[str], str]]:
    """Starts a chat model that replays the conversation in the shop and answers as one of two shoppers does."""
    servers = []

    def reply(messages: list[dict[str, Any]], shopper: str) -> str:
        if shopper == "chatty":
            return "Hello there"
        first = next(message["content"] for message in messages if message["role"] == "user")
        goal = next(g for g in range(len(shop.goals)) if shop.goals.goals[g].instruction_text in str(first))
        state = shop.start(goal)
        for message in messages:
            if message["role"] == "assistant":
                state, _ = shop.act(state, str(message["content"]).removeprefix("Action: "))
        action = best_action(shop, state)
        assert action is not None
        return f"Action: {action}"

    def start(shopper: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = reply(body["messages"], shopper)
                stream = body.get("stream", False)
                content = chunks(text) if stream else completion(text)
                self.send_response(200)
                self.send_header("content-type", "text/event-stream" if stream else "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (named so by the library)
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def play(address: str, goals: list[int]) -> list[Any]:
    """The traces of one episode for each goal, as verifiers plays them."""
    import verifiers.v1 as vf  # ty: ignore[import-not-found]
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config  # ty: ignore[import-not-found]

    seat = {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}
    env = load_environment(resolve_env_config({"taskset": TASKSET, "shopper": seat}))
    client = vf.EvalClientConfig(base_url=address, api_key_var="NO_KEY_IS_NEEDED")
    context = vf.ModelContext(model="scripted", client=client)
    tasks = {task.data.goal: task for task in env.taskset.take(max(goals) + 1)}

    async def run() -> list[Any]:
        async with env.serving():
            episodes = [await env.run_slot(slot, context) for goal in goals for slot in env.slots(tasks[goal])]
        assert [episode.errors for episode in episodes] == [[]] * len(goals)
        return [episode.traces[0] for episode in episodes]

    return asyncio.run(run())


def test_the_taskset_holds_a_split_of_goals_with_their_first_pages(module: None, shop: Shop) -> None:
    from verifiers.v1.utils.loaders import load_taskset, taskset_config_type  # ty: ignore[import-not-found]

    taskset = load_taskset(taskset_config_type("a_shop_of_forty").model_validate(TASKSET))
    tasks = list(taskset)
    assert [task.data.goal for task in tasks] == list(range(min(500, len(shop.goals))))
    assert tasks[7].data.prompt.endswith(render_rich(shop.page(shop.start(7))))


def test_the_best_actions_earn_the_purchase(module: None, shop: Shop, model: Callable[[str], str]) -> None:
    for goal, trace in zip([3, 8], play(model("best"), [3, 8]), strict=True):
        state = shop.start(goal)
        while not state.done:
            action = best_action(shop, state)
            assert action is not None
            state, _ = shop.act(state, action)
        assert trace.rewards["purchase"].score == state.reward == 1.0
        assert trace.metrics == {"actions": state.steps, "invalid_actions": 0.0}
        assert trace.task.data.goal == goal


def test_one_who_only_talks_is_cut_off_and_earns_nothing(module: None, model: Callable[[str], str]) -> None:
    (trace,) = play(model("chatty"), [0])
    assert trace.rewards["purchase"].score == 0.0
    assert trace.metrics == {"actions": 8.0, "invalid_actions": 8.0}
