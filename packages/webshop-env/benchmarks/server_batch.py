"""Steps per second over HTTP, one request a step and in batches, beside the same steps in process.

    uv run packages/webshop-env/benchmarks/server_batch.py [--environments 256] [--rounds 20]

The server runs in a process of its own on this machine. All three play the same random clicks.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from sightline.webshop_env import Catalogue, Shop, build_goals

PRODUCTS, SEED = 1000, 42


def choose(rng: random.Random, page: dict) -> str:
    """Return a random click, or a search where there is nothing to click."""
    labels = [label for label in page["clickables"] if label not in ("search", "buy now")]
    return f"click[{rng.choice(labels)}]" if labels and not page["has_search_bar"] else "search[black shirt]"


def timed(step: Callable[[], None], rounds: int, environments: int) -> float:
    """Return steps per second of wall time, after a round of warm-up."""
    step()
    started = time.perf_counter()
    for _ in range(rounds):
        step()
    return rounds * environments / (time.perf_counter() - started)


def in_process(environments: int, rounds: int) -> float:
    """Return steps per second of the shop's own functions, pages rendered as text."""
    from sightline.webshop_env import render_text

    catalogue = Catalogue.generate(PRODUCTS)
    shop = Shop(catalogue, build_goals(catalogue, "human", SEED))
    states = [shop.start(goal) for goal in range(environments)]
    rng = random.Random(0)

    def step() -> None:
        for place, state in enumerate(states):
            states[place], _ = shop.act(state, choose(rng, dict(shop.page(state).available_actions)))
            render_text(shop.page(states[place]))

    return timed(step, rounds, environments)


def over_http(client: httpx.Client, environments: int, rounds: int, *, batched: bool) -> float:
    """Return steps per second of a client that waits for each answer."""
    opened = client.post("/batch/sessions", json={"sessions": [{"goal": goal} for goal in range(environments)]}).json()
    pages = {page["session"]: page["available_actions"] for page in opened["pages"]}
    rng = random.Random(0)

    def step() -> None:
        actions = {name: choose(rng, page) for name, page in pages.items()}
        if batched:
            answers = client.post("/batch/actions", json={"actions": actions}).json()["steps"]
        else:
            answers = [
                client.post(f"/sessions/{name}/actions", json={"action": a}).json() for name, a in actions.items()
            ]
        pages.update({answer["session"]: answer["available_actions"] for answer in answers})

    return timed(step, rounds, environments)


def main() -> None:
    """Measure all three and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "sightline.webshop_env.commands.main", "serve", "--port", "0"]
    command += ["--products", str(PRODUCTS), "--seed", str(SEED)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"http://\S+:\d+/", server.stdout.readline())
        assert address
        here = in_process(arguments.environments, arguments.rounds)
        with httpx.Client(base_url=f"{address[0]}api/v1", timeout=60) as client:
            batched = over_http(client, arguments.environments, arguments.rounds, batched=True)
            single = over_http(client, arguments.environments, max(1, arguments.rounds // 5), batched=False)
    finally:
        server.kill()
    print(
        f"{arguments.environments} environments, steps/s: in process {here:,.0f}, batched HTTP {batched:,.0f} "
        f"({batched / here:.2f} of it), one request a step {single:,.0f} ({single / here:.3f})"
    )


if __name__ == "__main__":
    main()
