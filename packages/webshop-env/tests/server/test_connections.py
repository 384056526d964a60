from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from sightline.webshop_env import Shop
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.connections import ConnectionLimits, limited_protocol


@contextmanager
def serving(shop: Shop, limits: ConnectionLimits) -> Generator[tuple[str, int]]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(512)
    config = uvicorn.Config(create_app(shop), http=limited_protocol(limits), log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[bound]),), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield bound.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def ended(connection: socket.socket, within: float) -> bytes:
    """What a connection brings until the server closes it."""
    connection.settimeout(within)
    received = b""
    while part := connection.recv(4096):
        received += part
    return received


HALF_SENT = [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n"]
BODY = (
    b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 99\r\n\r\n{"
)


@pytest.mark.parametrize("sent", [*HALF_SENT, BODY])
def test_a_half_sent_request_is_dropped_when_its_time_is_over(shop: Shop, sent: bytes) -> None:
    with serving(shop, ConnectionLimits(0.4, 0.8)) as address, socket.create_connection(address) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        answer = ended(connection, 15)
        assert time.monotonic() - started > 0.3
        assert answer.startswith(b"HTTP/1.1 408") or sent == BODY


def test_trickling_bytes_do_not_buy_time(shop: Shop) -> None:
    with serving(shop, ConnectionLimits(0.6, 0.6)) as address, socket.create_connection(address) as connection:
        started = time.monotonic()

        def trickle() -> None:
            for _ in range(200):
                connection.sendall(b"G")
                time.sleep(0.05)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle()
        assert time.monotonic() - started < 9


def test_whole_requests_go_on_while_half_sent_ones_wait_and_are_dropped(shop: Shop) -> None:
    with serving(shop, ConnectionLimits(1.5, 1.5)) as address:
        waiting = [socket.create_connection(address) for _ in range(60)]
        for connection in waiting:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}/api/v1") as client:
            name = client.post("/sessions", json={"goal": 0}).json()["session"]
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert client.post(f"/sessions/{name}/actions", json={"action": "search[lamp]"}).status_code == 200
        for connection in waiting:
            assert ended(connection, 15).startswith(b"HTTP/1.1 408")
            connection.close()


def test_a_connection_above_the_limit_is_told_so_and_closed(shop: Shop) -> None:
    with serving(shop, ConnectionLimits(5, 5, connections=2)) as address:
        held = [socket.create_connection(address) for _ in range(2)]
        time.sleep(0.2)
        with socket.create_connection(address) as third:
            assert ended(third, 15).startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()
        time.sleep(0.2)
        assert httpx.get(f"http://127.0.0.1:{address[1]}/api/v1/health").status_code == 200


@pytest.mark.parametrize("wrong", [{"header_seconds": 0}, {"body_seconds": -1}, {"connections": 0}])
def test_limits_that_let_nothing_through_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limits of connections must be above 0"):
        ConnectionLimits(**wrong)
