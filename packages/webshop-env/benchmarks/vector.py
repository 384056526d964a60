"""How fast many episodes step: ours beside Gymnasium's vector environments, in one process and over workers.

    uv run packages/webshop-env/benchmarks/vector.py [--catalogue FOLDER | --products N]

Random clicks in text mode, one search at the start of each episode and whenever an index page comes up, as in
`steps.py`; what is timed is `step`, not the choice of actions. One and two workers take turns, since the machine's own
speed wanders; their ratio is the median over the turns. Private memory is that of each worker at the end, from
the kernel's `smaps_rollup`: pages that no other process shares.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals
from sightline.webshop_env.gym.vector import WebShopVectorEnv


def open_shop(arguments: argparse.Namespace) -> Shop:
    if arguments.catalogue is None:
        catalogue = Catalogue.generate(arguments.products)
    else:
        catalogue = Catalogue.open(arguments.catalogue)
    return Shop(catalogue, build_goals(catalogue, arguments.goals, 42))


def search_words(shop: Shop) -> list[str]:
    goals = shop.goals.goals
    return sorted({word for i in range(min(1000, len(goals))) for word in goals[i].instruction_text.split()})


def choose(rng: random.Random, words: list[str], has_search_bar: bool, clickables: list[str]) -> str:
    if has_search_bar or not clickables:
        return f"search[{' '.join(rng.choices(words, k=4))}]"
    return f"click[{rng.choice(clickables)}]"


def vector_rate(envs: VectorEnv, words: list[str], steps: int) -> float:
    """Return steps per second inside `step`, all episodes together, after a tenth of the steps as warm-up."""
    rng = random.Random(0)
    _, infos = envs.reset(seed=0)
    warm_up, rounds = max(steps // envs.num_envs // 10, 5), max(steps // envs.num_envs, 10)
    spent = 0.0
    for number in range(warm_up + rounds):
        offered = infos["available_actions"]
        pairs = zip(offered["has_search_bar"], offered["clickables"], strict=True)
        actions = tuple(choose(rng, words, bool(bar), labels) for bar, labels in pairs)
        started = time.perf_counter()
        *_, infos = envs.step(actions)
        spent += time.perf_counter() - started if number >= warm_up else 0.0
    return rounds * envs.num_envs / spent


def click_alone(shop: Shop, words: list[str], steps: int, seed: int, ready: Any, rates: Any) -> None:
    """One environment, clicking; several of these begin together."""
    env = WebShopEnv(shop=shop)
    rng = random.Random(seed)
    _, info = env.reset(seed=seed)
    ready.wait()
    started = time.perf_counter()
    for _ in range(steps):
        offered = info["available_actions"]
        _, _, terminated, _, info = env.step(choose(rng, words, offered["has_search_bar"], offered["clickables"]))
        if terminated:
            _, info = env.reset()
    rates.put(steps / (time.perf_counter() - started))


def processes_rate(shop: Shop, words: list[str], steps: int, count: int) -> float:
    """Return steps per second of independent processes together."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(count), context.SimpleQueue()
    workers = [
        context.Process(target=click_alone, args=(shop, words, steps, seed, ready, rates)) for seed in range(count)
    ]
    for worker in workers:
        worker.start()
    total = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def private_megabytes(pid: int) -> float | None:
    path = Path(f"/proc/{pid}/smaps_rollup")
    if not path.exists():
        return None
    fields = (line.split() for line in path.read_text().splitlines()[1:])
    return sum(int(field[1]) for field in fields if field[0] in ("Private_Clean:", "Private_Dirty:")) / 1024


def report(name: str, make: Callable[[], VectorEnv], words: list[str], steps: int) -> None:
    envs = make()
    try:
        rate = vector_rate(envs, words, steps)
    finally:
        envs.close()
    print(f"{name:<34} {rate:>10,.0f} steps/s", flush=True)


def report_workers(shop: Shop, words: list[str], steps: int, num_envs: int, turns: int = 7) -> None:
    """One worker against two, in turns."""
    pair = [WebShopVectorEnv(num_envs, shop=shop, num_workers=count) for count in (1, 2)]
    try:
        rates = [[vector_rate(envs, words, steps) for envs in pair] for _ in range(turns)]
        private = [private_megabytes(int(child.pid or 0)) for child in multiprocessing.active_children()]
    finally:
        for envs in pair:
            envs.close()
    one, two = (statistics.median(column) for column in zip(*rates, strict=True))
    ratios = sorted(two / one for one, two in rates)
    memory = ", ".join("unknown" if each is None else f"{each:,.0f} MB" for each in private)
    print(
        f"WebShopVectorEnv, {num_envs}: one worker {one:,.0f} steps/s, two {two:,.0f}; {statistics.median(ratios):.2f} "
        f"times one ({ratios[0]:.2f} to {ratios[-1]:.2f}); private memory of the workers: {memory}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, help="folder of a stored catalogue")
    parser.add_argument("--products", type=int, default=1000, help="how many to generate where none is stored")
    parser.add_argument("--goals", default="synthetic", help="kind of goals")
    parser.add_argument("--steps", type=int, default=50_000, help="steps in each run")
    arguments = parser.parse_args()
    shop = open_shop(arguments)
    words, steps = search_words(shop), arguments.steps
    print(f"{len(shop.catalogue):,} products, {len(shop.goals):,} goals, {steps:,} steps")
    single = functools.partial(WebShopEnv, shop=shop)
    for count in (1, 16, 256):
        report(f"Gymnasium's SyncVectorEnv, {count}", lambda n=count: SyncVectorEnv([single] * n), words, steps)
        report(f"WebShopVectorEnv, {count}", lambda n=count: WebShopVectorEnv(n, shop=shop), words, steps)
    for count in (256, 1024):
        report_workers(shop, words, steps, count)
    report(
        "Gymnasium's AsyncVectorEnv, 2",
        lambda: AsyncVectorEnv([single] * 2, shared_memory=False, context="spawn"),
        words,
        steps // 10,
    )
    one, two = (processes_rate(shop, words, steps, count) for count in (1, 2))
    print(f"independent processes: one {one:,.0f} steps/s, two {two:,.0f}, {two / one:.2f} times one")


if __name__ == "__main__":
    main()
