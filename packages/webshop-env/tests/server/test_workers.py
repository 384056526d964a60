from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals, render_text
from sightline.webshop_env.catalogue.catalogue import write_catalogue

SERVE = (
    "import argparse, sys; from sightline.webshop_env.server.command import add_arguments, run;"
    "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run(parser.parse_args()))"
)


@contextmanager
def serving(*arguments: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """A server, and the addresses of its processes."""
    command = [sys.executable, "-c", SERVE, "--port", "0", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        addresses = re.findall(r"http://\S+:\d+", server.stdout.readline())
        assert addresses, server.communicate(timeout=30)[1]
        yield server, addresses
    finally:
        if server.poll() is None:
            server.terminate()
        try:
            server.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


def children(server: subprocess.Popen[str], count: int = 2) -> list[int]:
    """The server's processes, in the order of their ports."""
    found: list[int] = []

    def all_there() -> bool:
        listed = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        found[:] = map(int, listed.split())
        return len(found) == count

    wait_until(all_there)
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.05)


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    """Ask on one kept connection; httpx walks through all its connections at every request."""
    content = json.dumps(body).encode()
    head = (
        f"POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
    assert length, answer
    received = json.loads(await reader.readexactly(int(length[1])))
    assert answer.startswith("HTTP/1.1 2"), received
    return received


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def play(address: str, shop: Shop, seed: int, stop: Callable[[int], bool]) -> int:
    """Play random clicks at an address and compare each page with this process's own; returns the number of steps."""
    rng = random.Random(seed)
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        goal = rng.randrange(len(shop.goals))
        session = (await post(reader, writer, "/sessions", {"goal": goal, "seed": seed}))["session"]
        state, steps = shop.start(goal, seed), 0
        while not stop(steps):
            targets = list(shop.page(state).targets)
            action = f"search[{rng.choice(shop.goal(state).instruction_text.split())}]"
            if targets and rng.random() < 0.8:
                action = f"click[{rng.choice(targets)}]"
            state, outcome = shop.act(state, action)
            page = await post(reader, writer, f"/sessions/{session}/actions", {"action": action})
            assert page["observation"] == render_text(shop.page(state))
            assert page["outcome"] == {"reward": outcome.reward, "done": outcome.done, "valid": outcome.valid}
            steps += 1
        return steps
    finally:
        await close(writer)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return write_catalogue(Catalogue.generate(60), tmp_path_factory.mktemp("stored") / "catalogue")


def play_all(addresses: list[str], shop: Shop, steps: int) -> list[int]:
    async def all_at_once() -> list[int]:
        plays = [play(address, shop, seed, lambda taken: taken >= steps) for seed, address in enumerate(addresses)]
        return await asyncio.gather(*plays)

    return asyncio.run(all_at_once())


def test_processes_have_sessions_of_their_own_at_addresses_of_their_own(stored: Catalogue) -> None:
    shop = Shop(stored, build_goals(stored, "human", 42))
    with serving(str(stored.folder), "--workers", "2") as (server, addresses):
        assert len(set(addresses)) == len(children(server)) == 2
        assert play_all(addresses * 3, shop, 10) == [10] * 6
        session = httpx.post(f"{addresses[0]}/api/v1/sessions", timeout=60).json()["session"]
        assert httpx.get(f"{addresses[0]}/api/v1/sessions/{session}", timeout=60).status_code == 200
        assert httpx.get(f"{addresses[1]}/api/v1/sessions/{session}", timeout=60).status_code == 404
        workers = children(server)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert not any(map(is_alive, workers))


def test_a_process_that_dies_is_started_again_and_the_others_keep_their_sessions(stored: Catalogue) -> None:
    with serving(str(stored.folder), "--workers", "2") as (server, addresses):
        session = httpx.post(f"{addresses[1]}/api/v1/sessions", timeout=60).json()["session"]
        time.sleep(5.2)  # one that dies sooner is taken for one that cannot start
        os.kill(children(server)[0], signal.SIGKILL)
        assert server.stderr is not None
        assert "server process 0 ended (-9) and is started again" in server.stderr.readline()
        wait_until(lambda: httpx.get(f"{addresses[0]}/api/v1/health", timeout=60).status_code == 200)
        assert httpx.get(f"{addresses[1]}/api/v1/sessions/{session}", timeout=60).status_code == 200


def test_a_process_that_cannot_start_ends_the_server(stored: Catalogue) -> None:
    with serving(str(stored.folder), "--workers", "2") as (server, _):
        workers = children(server)
        os.kill(workers[1], signal.SIGKILL)
        assert server.wait(30) == 2
        assert server.stderr is not None
        assert "server process 1 ended as soon as it began: -9" in server.stderr.read()
        assert not any(map(is_alive, workers))


def test_no_process_outlives_one_that_is_killed(stored: Catalogue) -> None:
    with serving(str(stored.folder), "--workers", "2") as (server, addresses):
        wait_until(lambda: httpx.get(f"{addresses[1]}/api/v1/health", timeout=60).status_code == 200)
        workers = children(server)
        server.kill()
        server.wait(30)
        wait_until(lambda: not any(map(is_alive, workers)))


def test_more_processes_than_ports_are_refused() -> None:
    command = [sys.executable, "-c", SERVE, "--port", "65535", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "there are no 2 ports from 65535 on; try a lower --port" in done.stderr


@pytest.mark.slow
def test_two_processes_over_one_stored_catalogue_serve_200_sessions(stored: Catalogue) -> None:
    shop = Shop(stored, build_goals(stored, "human", 42))
    with serving(str(stored.folder), "--workers", "2") as (_, addresses):
        assert play_all(addresses * 100, shop, 20) == [20] * 200
        for address in addresses:
            assert httpx.get(f"{address}/api/v1/shop", timeout=60).json()["sessions"] == 100


@pytest.mark.slow
def test_300_half_sent_requests_are_gone_after_the_time_out_while_200_sessions_go_on(stored: Catalogue) -> None:
    shop = Shop(stored, build_goals(stored, "human", 42))
    half_sent = (
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    )

    async def run(address: str) -> tuple[list[int], list[int]]:
        parts = urlsplit(address)
        waiting = []
        for number in range(300):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(half_sent[number % 3])
            waiting.append((reader, writer))
        gone = asyncio.gather(*(reader.read() for reader, _ in waiting))
        taken_when_gone = [0] * 200
        plays = [
            play(address, shop, seed, lambda steps, seed=seed: note(steps, seed, taken_when_gone, gone.done()))
            for seed in range(200)
        ]
        steps = await asyncio.gather(*plays)
        for answer in await gone:
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        for _, writer in waiting:
            await close(writer)
        return steps, taken_when_gone

    def note(steps: int, seed: int, taken_when_gone: list[int], gone: bool) -> bool:
        if not gone:
            taken_when_gone[seed] = steps
        return gone and steps >= taken_when_gone[seed] + 2

    with serving(str(stored.folder), "--header-seconds", "4", "--body-seconds", "4") as (_, addresses):
        steps, while_they_waited = asyncio.run(asyncio.wait_for(run(addresses[0]), 120))
        assert min(while_they_waited) > 0
        assert all(after > before for after, before in zip(steps, while_they_waited, strict=True))
        # What is left are the connections of the sessions.
        assert httpx.get(f"{addresses[0]}/api/v1/shop", timeout=60).json()["sessions"] == 200
