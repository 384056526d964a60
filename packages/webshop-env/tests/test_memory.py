"""Memory does not grow with the number of steps: every cache is bounded and soon full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import json, random, sys
from pathlib import Path
from sightline.webshop_env import Catalogue, WebShopEnv

products, steps, settled = map(int, sys.argv[1:])
env = WebShopEnv(Catalogue.generate(products), goals="synthetic", step_limit=100)
rng = random.Random(0)
words = sorted({word for i in range(200) for word in env.goals[i].instruction_text.split()})


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


_, info = env.reset(seed=0)
sizes = {}
for step in range(1, steps + 1):
    labels = info["available_actions"]["clickables"]
    if info["available_actions"]["has_search_bar"]:
        # Words that no one has searched for before, too: what they leave behind must be bounded.
        action = f"search[{' '.join(rng.choices(words, k=3))} {rng.randrange(10**9):x}]"
    else:
        action = f"click[{rng.choice(labels)}]"
    _, _, terminated, truncated, info = env.step(action)
    if terminated or truncated:
        _, info = env.reset()
    if step in (settled, steps):
        sizes[step] = resident()
print(json.dumps(sizes))
"""


def megabytes(products: int, steps: int, settled: int) -> dict[int, float]:
    """Resident memory of a process of its own after ``settled`` and after ``steps`` random steps."""
    command = [sys.executable, "-c", STEPS, str(products), str(steps), str(settled)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {int(step): size for step, size in json.loads(done.stdout).items()}


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")


@needs_proc
def test_memory_has_settled_after_the_first_steps() -> None:
    sizes = megabytes(products=100, steps=8_000, settled=4_000)
    assert sizes[8_000] - sizes[4_000] < 20


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("products", [1_000, 20_000])
def test_a_million_steps_end_within_20_megabytes_of_the_first_ten_thousand(products: int) -> None:
    sizes = megabytes(products, steps=1_000_000, settled=10_000)
    assert sizes[1_000_000] - sizes[10_000] < 20, sizes
