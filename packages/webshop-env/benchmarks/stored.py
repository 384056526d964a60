"""What a stored catalogue costs to open, to begin with and to share.

    uv run packages/webshop-env/benchmarks/stored.py FOLDER [--workers 8]

Every figure comes from fresh processes: opening and the first reset are medians of five, from the start of the process
for the reset. Private memory is what the kernel says no other process shares (`smaps_rollup`), after each worker has
opened the catalogue, reset, and taken the given number of random steps, all workers at the same time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

OPEN = """
import sys, time
from sightline.webshop_env import Catalogue
begin = time.perf_counter()
catalogue = Catalogue.open(sys.argv[1])
len(catalogue), catalogue.fingerprint
print(time.perf_counter() - begin)
"""
RESET = """
import sys
from sightline.webshop_env import Catalogue, WebShopEnv
env = WebShopEnv(Catalogue.open(sys.argv[1]))
print(env.reset(options={"goal": 0})[0][:20], flush=True)
"""
WORKER = r"""
import random, re, sys
from pathlib import Path
from sightline.webshop_env import Catalogue, WebShopEnv
env = WebShopEnv(Catalogue.open(sys.argv[1]))
rng = random.Random(int(sys.argv[3]))
_, info = env.reset(seed=int(sys.argv[3]))
for _ in range(int(sys.argv[2])):
    actions = info["available_actions"]
    if actions["has_search_bar"]:
        words = " ".join(rng.sample(info["instruction_text"].split(), 4))
        action = f"search[{words}]"
    else:
        action = f"click[{rng.choice(actions['clickables'])}]"
    _, _, terminated, _, info = env.step(action)
    if terminated:
        _, info = env.reset()
print("ready", flush=True)
sys.stdin.readline()
text = Path("/proc/self/smaps_rollup").read_text()
kilobytes = {key: int(kb) for key, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
print((kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1024, flush=True)
sys.stdin.readline()
"""


def fresh(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def seconds_to_first_line(code: str, folder: str) -> float:
    begin = time.perf_counter()
    with fresh(code, folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        return time.perf_counter() - begin


def private_megabytes(folder: str, workers: int, steps: int) -> list[float]:
    processes = [fresh(WORKER, folder, str(steps), str(seed)) for seed in range(workers)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
    sizes = []
    for process in processes:
        # All stay alive until the last has been asked, so that what is shared counts as shared.
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        sizes.append(float(process.stdout.readline()))
    for process in processes:
        process.communicate()
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a stored catalogue")
    parser.add_argument("--workers", type=int, default=8, help="processes that are open together")
    parser.add_argument("--steps", type=int, default=5000, help="random steps of each worker")
    arguments = parser.parse_args()
    folder = str(arguments.folder)
    opened = [
        float(subprocess.run([sys.executable, "-c", OPEN, folder], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    print(f"open: {statistics.median(opened):.3f} s")
    resets = [seconds_to_first_line(RESET, folder) for _ in range(5)]
    print(f"first reset, from the start of the process: {statistics.median(resets):.2f} s")
    sizes = private_megabytes(folder, arguments.workers, arguments.steps)
    print(f"private memory of {arguments.workers} workers: {min(sizes):.0f} to {max(sizes):.0f} MB each")


if __name__ == "__main__":
    main()
