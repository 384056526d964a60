"""What the server does under load, and what is left after it is killed.

    uv run packages/webshop-env/benchmarks/server_load.py --seconds 60

Starts `sightline-webshop serve` in a process of its own and plays many sessions at once over loopback: random clicks
and searches, now and then a snapshot that is restored later. Every answer is compared with what a shop in this process
says, so that any mixing-up of sessions shows. Meanwhile one person plays and saves trajectories, until the server is
killed with SIGKILL in mid-work; after a restart every trajectory that was reported as saved must be there and readable.
Ends with status 1 if any answer was wrong, if memory grew in the second half by more than a limit, or if a trajectory
was lost. Client and server share the machine: the requests per second are for both together.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, render_text
from sightline.webshop_env.episodes.recording import read_recordings

STEPS_PER_EPISODE = 40
GROWTH_LIMIT_MB = 20
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, but slow to make anew for each client
SERVE = (
    "import argparse, sys; from sightline.webshop_env.server.command import add_arguments, run;"
    "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run(parser.parse_args()))"
)


@dataclass
class Tally:
    """What happened so far; latencies in seconds by kind of request, memory in MB by seconds since the start."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)


@contextmanager
def serving(arguments: argparse.Namespace, folder: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    source = [str(arguments.catalogue)] if arguments.catalogue else ["--products", str(arguments.products)]
    options = ["--port", "0", "--trajectories", str(folder), "--goals", arguments.goals]
    process = subprocess.Popen([sys.executable, "-c", SERVE, *source, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = re.search(r"http://\S+:\d+", process.stdout.readline())
        if address is None:
            raise SystemExit("the server did not start")
        yield process, address[0]
    finally:
        process.kill()
        process.wait()


def resident_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


class Player:
    """One session after the other on the server, with the same played here."""

    def __init__(self, client: httpx.AsyncClient, shop: Shop, words: list[str], tally: Tally, seed: int) -> None:
        self.client = client
        self.shop = shop
        self.words = words
        self.tally = tally
        self.rng = random.Random(seed)

    async def play(self, deadline: float) -> None:
        """Play random episodes until the deadline, in seconds of the monotonic clock."""
        while time.monotonic() < deadline:
            goal, seed = self.rng.randrange(len(self.shop.goals)), self.rng.getrandbits(32)
            view = await self.ask("open", "POST", "/sessions", {"goal": goal, "seed": seed})
            path, state = f"/sessions/{view['session']}", self.shop.start(goal, seed)
            self.compare(state, view)
            bookmark: tuple[ShopState, str] | None = None
            for _ in range(STEPS_PER_EPISODE):
                action = self.choose(state)
                kind = action.partition("[")[0]
                state, outcome = self.shop.act(state, action)
                view = await self.ask(kind, "POST", f"{path}/actions", {"action": action})
                self.compare(state, view)
                if view["outcome"] != {"reward": outcome.reward, "done": outcome.done, "valid": outcome.valid}:
                    self.tally.faults.append(f"{action!r} brought {view['outcome']}, expected {outcome}")
                if self.rng.random() < 0.05:
                    bookmark = state, (await self.ask("snapshot", "GET", f"{path}/snapshot"))["snapshot"]
                elif bookmark is not None and self.rng.random() < 0.05:
                    state, snapshot = bookmark
                    self.compare(state, await self.ask("restore", "PUT", f"{path}/snapshot", {"snapshot": snapshot}))
                if time.monotonic() >= deadline:
                    return
            await self.ask("close", "DELETE", path)

    def choose(self, state: ShopState) -> str:
        """Return a click on something, or a search of 2 to 8 words."""
        page = self.shop.page(state)
        if page.available_actions["has_search_bar"] or not page.targets or self.rng.random() < 0.1:
            return f"search[{' '.join(self.rng.choices(self.words, k=self.rng.randint(2, 8)))}]"
        return f"click[{self.rng.choice(list(page.targets))}]"

    async def ask(self, kind: str, method: str, path: str, body: dict[str, object] | None = None) -> dict:
        """Send a request and time it."""
        started = time.perf_counter()
        response = await self.client.request(method, f"/api/v1{path}", json=body)
        self.tally.latencies.setdefault(kind, []).append(time.perf_counter() - started)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:200]}")
        return response.json() if response.content else {}

    def compare(self, state: ShopState, view: dict) -> None:
        """Note it if the server shows something else than this process would."""
        page = self.shop.page(state)
        expected = (render_text(page), page.available_actions, state.steps, state.reward)
        shown = tuple(view[name] for name in ("observation", "available_actions", "steps", "reward"))
        if shown != expected:
            self.tally.faults.append(f"session {view['session']}, step {state.steps}: {shown} instead of {expected}")


async def save_trajectories(address: str, shop: Shop, tally: Tally) -> None:
    """One person's browser: short episodes, each saved, until the server is gone."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as browser:
        try:
            while True:
                await browser.post("/play", data={"goal": str(len(tally.saved) % len(shop.goals))})
                for step, action in enumerate(("search[desk lamp]", "click[next >]", "click[back to search]")):
                    await browser.post("/play/act", data={"step": str(step), "action": action})
                answer = await browser.post("/play/save")
                name = re.search(r"saved=([^&]+)", answer.headers.get("location", ""))
                if name is None:
                    tally.faults.append(f"a trajectory was not saved: {answer.status_code} {answer.text[:200]}")
                    return
                tally.saved.append(name[1])
                await asyncio.sleep(0.05)
        except httpx.TransportError:
            return  # killed, as intended


async def watch(process: subprocess.Popen[str], tally: Tally, seconds: float) -> None:
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        tally.memory.append((elapsed, resident_mb(process)))
        await asyncio.sleep(min(1.0, seconds / 20))


async def load(
    process: subprocess.Popen[str], address: str, shop: Shop, arguments: argparse.Namespace, tally: Tally
) -> float:
    """Seconds that the load lasted; the server is dead afterwards."""
    words = sorted({word for goal in shop.goals.goals[:2000] for word in goal.instruction_text.split()})
    saving = asyncio.create_task(save_trajectories(address, shop, tally))
    async with AsyncExitStack() as clients:
        players = []
        for seed in range(arguments.sessions):
            # A client for each session: httpx walks through all connections of a client at every request.
            client = httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, verify=NO_TLS)
            players.append(Player(await clients.enter_async_context(client), shop, words, tally, seed))
        started = time.monotonic()
        deadline = started + arguments.seconds
        plays = [player.play(deadline) for player in players]
        results = await asyncio.gather(watch(process, tally, arguments.seconds), *plays, return_exceptions=True)
        lasted = time.monotonic() - started
    tally.faults += [repr(result) for result in results if isinstance(result, BaseException)]
    process.send_signal(signal.SIGKILL)
    await saving
    return lasted


def check_saved(arguments: argparse.Namespace, folder: Path, tally: Tally) -> None:
    """Start the server again over the same folder and read every trajectory, from disk and from the server."""
    with serving(arguments, folder) as (_, address), httpx.Client(base_url=address, trust_env=False) as client:
        for name in tally.saved:
            try:
                steps = [len(recording.steps) for recording in read_recordings(folder / name)]
            except (OSError, ValueError) as error:
                tally.faults.append(f"{name}: {error}")
                continue
            shown = client.get(f"/trajectories/{name}").status_code
            if (steps, shown) != ([3], 200):
                tally.faults.append(f"{name}: episodes of {steps} steps, shown with status {shown}")


def report(tally: Tally, lasted: float, sessions: int) -> None:
    count = sum(map(len, tally.latencies.values()))
    print(f"{sessions} sessions, {lasted:.1f} s, {count:,} requests, {count / lasted:,.0f} requests/s")
    print(f"{'request':10}{'count':>9}{'median':>10}{'95 %':>10}{'99 %':>10}{'slowest':>10}  (ms)")
    for kind, latencies in sorted(tally.latencies.items()):
        ordered = sorted(latencies)
        marks = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.95, 0.99, 1)]
        print(f"{kind:10}{len(ordered):9,}" + "".join(f"{1000 * mark:10.1f}" for mark in marks))
    start, middle, end = (tally.memory[index][1] for index in (0, len(tally.memory) // 2, -1))
    print(f"server memory: {start:.1f} MB at the start, {middle:.1f} in the middle, {end:.1f} at the end")
    if end - middle > GROWTH_LIMIT_MB:
        tally.faults.append(f"memory grew by {end - middle:.1f} MB in the second half")
    print(f"{len(tally.saved)} trajectories saved before the kill")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play (default: 60)")
    parser.add_argument("--sessions", type=int, default=200, help="how many at once (default: 200)")
    parser.add_argument("--products", type=int, default=1000, help="of a generated catalogue (default: 1000)")
    parser.add_argument("--catalogue", type=Path, help="folder of a stored catalogue, instead")
    parser.add_argument("--goals", choices=("human", "synthetic"), default="human", help="default: human")
    arguments = parser.parse_args()
    catalogue = Catalogue.open(arguments.catalogue) if arguments.catalogue else Catalogue.generate(arguments.products)
    shop = Shop(catalogue, build_goals(catalogue, arguments.goals, 42))
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        with serving(arguments, Path(folder)) as (process, address):
            lasted = asyncio.run(load(process, address, shop, arguments, tally))
        check_saved(arguments, Path(folder), tally)
    report(tally, lasted, arguments.sessions)
    for fault in tally.faults[:20]:
        print(f"FAULT {fault[:500]}")
    print(f"{len(tally.faults)} faults")
    return 1 if tally.faults or not tally.saved else 0


if __name__ == "__main__":
    sys.exit(main())
