"""The command `sightline-webshop serve`: makes or opens a shop, binds sockets and serves until told to stop.

Sessions live in the memory of a process, so that each of several has an address of its own; see `server.workers`.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.webshop_env.errors import WebShopError

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.server.workers import ServeFn

TOKEN_VARIABLE: Final = "SIGHTLINE_TOKEN"

_INSTALL = "pip install 'sightline-webshop-env[server]'"
_SHUTDOWN_SECONDS = 5
_FAILED = 2
_PORTS: Final = 1 << 16


class _StartError(Exception):
    """The server cannot be started as asked; the text says why and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments, each with its meaning, unit and default."""
    add = parser.add_argument
    add("catalogue", nargs="?", type=Path, help="folder of a stored catalogue (default: generated products)")
    add(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="open the shop of an experiment's run (its shop.json) and show the run's episodes (default: none)",
    )
    add("--products", type=_positive, metavar="N", help="how many products to generate (default: 1000)")
    add("--goals", choices=("human", "synthetic"), default="human", help="whose instructions (default: human)")
    add("--seed", type=int, default=42, help="of prices and price limits (default: 42)")
    add("--step-limit", type=_positive, metavar="N", help="truncate episodes after N steps (default: never)")
    add("--host", default="127.0.0.1", help="name or address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=_port, default=8000, help="TCP port; 0 picks a free one (default: 8000)")
    add(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="server processes over one shop, on N ports from --port on, each with its own sessions (default: 1)",
    )
    add(
        "--token", help=f"what clients must bring; the environment variable {TOKEN_VARIABLE} keeps it off process lists"
    )
    add("--trajectories", type=Path, metavar="FOLDER", help="where people open and save episodes; made if missing")
    add("--pictures", action="store_true", help="show pictures, fetched from where the data says (default: off)")
    add("--capacity", type=_positive, default=10_000, metavar="N", help="sessions open at once (default: 10000)")
    add("--quota", type=_positive, metavar="N", help="sessions that one program may hold (default: all for programs)")
    add("--connections", type=_positive, default=2_000, metavar="N", help="connections open at once (default: 2000)")
    add("--header-seconds", type=_seconds, default=10.0, metavar="S", help="for a request's headers (default: 10)")
    add("--body-seconds", type=_seconds, default=60.0, metavar="S", help="for a request's body (default: 60)")
    add("--idle-seconds", type=_seconds, default=3600.0, metavar="S", help="close unused sessions (default: 3600)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first.

    Args:
        arguments: parsed with the arguments of `add_arguments`.

    Returns:
        The exit status: 0 after an interrupt, 2 where the server could not be started; the reason is on stderr.
    """
    try:
        import uvicorn  # noqa: F401

        from sightline.webshop_env.server.app import create_app  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(f"the server needs the package {error.name!r}, which is not installed: {_INSTALL}\n")
        return _FAILED
    from sightline.webshop_env.server.workers import WorkerError, serve_in_processes

    try:
        token = _token(arguments)
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(_bind(arguments.host, port, token))
                for port in _ports(arguments.port, arguments.workers)
            ]
            serve = _prepare(arguments, shop := _make_shop(arguments), token)
            sys.stdout.write(_greeting(shop, sockets, token))
            sys.stdout.flush()
            if len(sockets) == 1:
                serve(sockets[0])
            else:
                serve_in_processes(sockets, serve)
    except KeyboardInterrupt:
        pass
    except (_StartError, WorkerError, WebShopError, OSError) as error:
        sys.stderr.write(f"sightline-webshop serve: {error}\n")
        return _FAILED
    return 0


def _prepare(arguments: argparse.Namespace, shop: Shop, token: str | None) -> ServeFn:
    """Return what serves the shop on a socket, in this process or a fork of it."""
    import uvicorn

    from sightline.webshop_env.server.app import create_app
    from sightline.webshop_env.server.connections import ConnectionLimits, limited_protocol
    from sightline.webshop_env.server.pictures import Pictures
    from sightline.webshop_env.server.sessions import Sessions

    trajectories = arguments.trajectories
    if trajectories is None and arguments.run is not None:
        trajectories = arguments.run / "people"
    if trajectories is not None:
        trajectories.mkdir(parents=True, exist_ok=True)
    limits = ConnectionLimits(arguments.header_seconds, arguments.body_seconds, arguments.connections)

    sessions = Sessions(shop, capacity=arguments.capacity, idle_seconds=arguments.idle_seconds, quota=arguments.quota)
    # Made before processes are forked, so that each has a copy at once, its table of sessions empty.
    pictures = Pictures(shop.catalogue) if arguments.pictures else None
    folders = {"trajectories": trajectories, "run": arguments.run}
    app = create_app(shop, token=token, sessions=sessions, pictures=pictures, **folders)

    def serve(bound: socket.socket) -> None:
        # No access log: it would hold the token of the first visit.
        config = uvicorn.Config(
            app,
            http=limited_protocol(limits),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[bound])

    return serve


def _ports(first: int, count: int) -> list[int]:
    if first and first + count > _PORTS:
        raise _StartError(f"there are no {count} ports from {first} on; try a lower --port")
    return [first + place if first else 0 for place in range(count)]


def _token(arguments: argparse.Namespace) -> str | None:
    from sightline.webshop_env.server.security import check_token

    token = os.environ.get(TOKEN_VARIABLE) if arguments.token is None else arguments.token
    if token is not None:
        try:
            check_token(token)
        except ValueError as error:
            raise _StartError(str(error)) from None
    return token


def _bind(host: str, port: int, token: str | None) -> socket.socket:
    """Return a listening socket, on this machine's own addresses only where there is no token."""
    from sightline.webshop_env.server.security import is_loopback

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise _StartError(f"there is no host {host[:80]!r} to listen on: {error}") from None
    # What the name stands for decides, not how it sounds.
    if token is None and not is_loopback(str(address[0])):
        raise _StartError(
            f"host {host!r} can be reached from other machines, which takes a token: set {TOKEN_VARIABLE} to a secret "
            "of 16 characters or more, or leave --host out"
        )
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        raise _StartError(f"cannot listen on {host!r}, port {port}: {error.strerror}; try another --port") from None
    return bound


def _make_shop(arguments: argparse.Namespace) -> Shop:
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.goals.goals import build_goals
    from sightline.webshop_env.rules.shop import Shop

    if arguments.run is not None:
        from sightline.webshop_env.episodes.shop_file import SHOP_FILE, open_shop

        if arguments.catalogue is not None or arguments.products is not None:
            raise _StartError("a run says what its shop is made of: give --run without a catalogue and --products")
        return open_shop(arguments.run / SHOP_FILE)
    if arguments.catalogue is None:
        catalogue = Catalogue.generate(arguments.products or 1000)
    elif arguments.products is not None:
        raise _StartError("--products is for generated catalogues; leave it out to serve a stored one")
    else:
        catalogue = Catalogue.open(arguments.catalogue)
    return Shop(catalogue, build_goals(catalogue, arguments.goals, arguments.seed), step_limit=arguments.step_limit)


def _greeting(shop: Shop, sockets: Sequence[socket.socket], token: str | None) -> str:
    addresses = [_address(bound) for bound in sockets]
    visit = "" if token is None else f" (in a browser, first {addresses[0]}?token=...)"
    goods = f"{len(shop.catalogue):,} products and {len(shop.goals):,} goals"
    return f"{goods} at {' and '.join(addresses)}{visit}; Ctrl+C stops\n"


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < _PORTS:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {number}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, not {text}")
    return number
