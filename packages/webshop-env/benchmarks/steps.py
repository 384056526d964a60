"""How fast the environment steps, how much memory it holds, and how long the package takes to import.

    uv run packages/webshop-env/benchmarks/steps.py [--catalogue FOLDER]

Random clicks in text mode, one search at the start of each episode and whenever an index page comes up, one process.
The first figure is of everything, resets and the choice of actions included; "clicks only" counts clicks and the time
inside their `step`. The catalogue is a stored one if a folder is
named, the recorded one where `shared/` lies beside the repository, else a generated one. Resident memory is that at the
end of the run; import time is the median of five fresh interpreters, start-up of the interpreter excluded.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import gymnasium  # noqa: F401  (so that its import is not measured as part of the environment)

from sightline.webshop_env import Catalogue, WebShopEnv

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "webshop"


def load_catalogue(folder: Path | None) -> Catalogue:
    if folder is not None:
        return Catalogue.open(folder)
    if not GOLDEN.is_dir():
        return Catalogue.generate()
    return Catalogue.from_official(
        products=GOLDEN / "items_shuffle.json",
        attributes=GOLDEN / "items_ins_v2.json",
        human=GOLDEN / "items_human_ins.json",
    )


def measure_steps(env: WebShopEnv, steps: int, seed: int) -> tuple[float, float, int]:
    """Return steps per second, those of clicks alone, and how many of the steps were searches."""
    rng = random.Random(seed)
    goals = env.goals
    words = sorted({word for i in range(min(1000, len(goals))) for word in goals[i].instruction_text.split()})
    searches, clicking = 0, 0.0
    _, info = env.reset(seed=seed)
    started = time.perf_counter()
    for _ in range(steps):
        actions = info["available_actions"]
        if actions["has_search_bar"]:
            _, _, terminated, _, info = env.step(f"search[{' '.join(rng.choices(words, k=4))}]")
            searches += 1
        else:
            click = f"click[{rng.choice(actions['clickables'])}]"
            begin = time.perf_counter()
            _, _, terminated, _, info = env.step(click)
            clicking += time.perf_counter() - begin
        if terminated:
            _, info = env.reset()
    elapsed = time.perf_counter() - started
    return steps / elapsed, (steps - searches) / clicking, searches


def measure_snapshots(env: WebShopEnv, steps: int) -> None:
    """Print how long saving and restoring take along an episode, and how large what is saved gets."""
    rng = random.Random(0)
    taken, restored, sizes = [], [], []
    _, info = env.reset(seed=0)
    for _ in range(steps):
        begin = time.perf_counter()
        token = env.snapshot()
        middle = time.perf_counter()
        env.restore(token)
        restored.append(time.perf_counter() - middle)
        taken.append(middle - begin)
        sizes.append(len(token))
        actions = info["available_actions"]
        label = "search[red desk lamp]" if actions["has_search_bar"] else f"click[{rng.choice(actions['clickables'])}]"
        _, _, terminated, _, info = env.step(label)
        if terminated or len(sizes) % 15 == 0:
            _, info = env.reset()
    print(
        f"snapshot: median {1e6 * statistics.median(taken):.1f} us; restore: median "
        f"{1e6 * statistics.median(restored):.1f} us; {min(sizes)} to {max(sizes)} bytes within 15 steps"
    )


def resident_megabytes() -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def import_seconds() -> float:
    code = "import time; t = time.perf_counter(); import sightline.webshop_env; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000, help="steps in each of the three runs")
    parser.add_argument("--mode", default="text", help="observation mode")
    parser.add_argument("--catalogue", type=Path, help="folder of a stored catalogue")
    arguments = parser.parse_args()
    catalogue = load_catalogue(arguments.catalogue)
    env = WebShopEnv(catalogue, observation_mode=arguments.mode)
    env.search("warm up")
    for seed in range(3):
        rate, clicks, searches = measure_steps(env, arguments.steps, seed)
        print(
            f"run {seed}: {rate:,.0f} steps/s over {arguments.steps:,} steps, {searches:,} of them searches; "
            f"clicks only: {clicks:,.0f} steps/s"
        )
    measure_snapshots(env, 5000)
    memory = resident_megabytes()
    print(f"products: {len(catalogue):,}; resident: {'unknown' if memory is None else f'{memory:,.0f} MB'}")
    print(f"import sightline.webshop_env: {import_seconds():.3f} s")


if __name__ == "__main__":
    main()
