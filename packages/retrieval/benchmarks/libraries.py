"""The embedding store beside other libraries, in one run: time, memory and disk of what a user does.

Run from the repository's root on a quiet machine::

    uv run packages/retrieval/benchmarks/product_vectors.py products.npy
    uv run --package sightline-retrieval --group benchmark --extra approximate --extra qdrant \
        packages/retrieval/benchmarks/libraries.py --vectors products.npy

Every library has a process of its own, one after another, with one thread for NumPy's products; what the databases do
with threads is theirs. All hold the same vectors, texts of 200 characters and a number to filter by. Without
`--vectors` they are made up. Searches are the median of as many as fit in some seconds, and of 3 at least; one of
more than 5 s is done once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from rivals import LIBRARIES, TOP_K
from store import DIMENSION, Vectors, text_like_vectors

BATCH, CHANGED, AT_ONCE, SLOW = 32, 1000, 5000, 5.0
WIDTH = 14
CHANGES = ("build", "upsert", "delete")  # for these the time of the processor is printed as well: disks make one wait
ROWS = ("build", "open", "single", "batch", "filtered", "upsert", "delete", "memory", "disk", "recall")


def median_ms(task: Callable[[], object], seconds: float) -> float:
    """Return the median milliseconds of a task, run for so many seconds and at least 3 times after a first time.

    What takes longer than `SLOW` seconds the first time is not done again.
    """
    first = Clock()
    first.time(task)
    if first.wall > SLOW:
        return 1000 * first.wall
    spent: list[float] = []
    while len(spent) < 3 or (sum(spent) < seconds and len(spent) < 50):
        begun = time.perf_counter()
        task()
        spent.append(time.perf_counter() - begun)
    return 1000 * float(np.median(spent))


class Clock:
    """Adds up what a task takes by the wall and of the processor, in seconds."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def time(self, task: Callable[[], object]) -> None:
        """Do the task and count it."""
        wall, processor = time.perf_counter(), time.process_time()
        task()
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor


def read_vectors(path: Path | None, count: int) -> tuple[Vectors, Vectors, Vectors]:
    """Return what is stored `[count, D]`, what replaces the first of it, and the queries; the latter two are not in it.

    Args:
        path: a file of `product_vectors.py`; None to make vectors up.
        count: vectors to store.
    """
    if path is None:
        stored = np.concatenate(
            [text_like_vectors(min(AT_ONCE, count - start), 1 + start) for start in range(0, count, AT_ONCE)]
        )
        return stored, text_like_vectors(CHANGED, seed=5), text_like_vectors(BATCH, seed=0)
    everything = np.load(path, mmap_mode="r")
    if len(everything) < count + CHANGED + BATCH:
        raise SystemExit(f"{path} has {len(everything):,} vectors, and {count + CHANGED + BATCH:,} are needed")
    return everything[:count], np.array(everything[count : count + CHANGED]), np.array(everything[-BATCH:])


def measure(name: str, count: int, folder: Path, vectors: Path | None) -> dict[str, float | None]:
    """Do with one library what is timed."""
    stored, changed, queries = read_vectors(vectors, count)
    truth = np.argsort(-(queries @ stored.T), axis=1)[:, :TOP_K].tolist()
    result: dict[str, float | None] = {}
    library = LIBRARIES[name](folder)
    build = Clock()
    for start in range(0, count, AT_ONCE):
        part = np.array(stored[start : start + AT_ONCE])
        build.time(lambda part=part, start=start: library.add(range(start, start + len(part)), part))
    build.time(library.finish)
    result["build"], result["build CPU"] = build.wall, build.processor
    del stored
    begun = time.perf_counter()
    library.open()
    library.search(queries[:1], None)
    result["open"] = 1000 * (time.perf_counter() - begun)
    result["single"] = median_ms(lambda: library.search(queries[:1], None), 3)
    found: list[list[int]] = []
    result["batch"] = median_ms(lambda: found.__setitem__(slice(None), library.search(queries, None)), 6)
    result["recall"] = float(np.mean([len({*a} & {*b}) / TOP_K for a, b in zip(found, truth, strict=True)]))
    with suppress(NotImplementedError):
        result["filtered"] = median_ms(lambda: library.search(queries[:1], 7), 3)
    result["memory"] = own_megabytes()
    result["disk"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    for row, act in (
        ("upsert", lambda: library.upsert(range(CHANGED), changed)),
        ("delete", lambda: library.delete(range(CHANGED))),
    ):
        clock = Clock()
        clock.time(act)
        result[row], result[f"{row} CPU"] = 1000 * clock.wall, 1000 * clock.processor
    return result


def own_megabytes() -> float:
    """Return memory of this process that no file backs, in MiB: what a mapped file takes can be given back."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def shown(found: dict[str, float | None], row: str) -> str:
    """Return a figure as it is printed, to three digits and never as a power of ten."""
    value = found.get(row)
    if value is None:
        return "-"
    texts = [f"{one:,.0f}" if one >= 100 else f"{one:.3g}" for one in (value, found.get(f"{row} CPU") or 0.0)]
    return f"{texts[0]} ({texts[1]})" if row in CHANGES else texts[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--libraries", nargs="*", default=list(LIBRARIES), choices=list(LIBRARIES))
    parser.add_argument("--minutes", type=float, default=30, help="most time for one library")
    parser.add_argument("--vectors", type=Path, help="a file that product_vectors.py made")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        in_memory = "/dev/shm" if getattr(LIBRARIES[options.one], "files_in_memory", False) else None
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            print(json.dumps(measure(options.one, options.count, Path(folder), options.vectors)))
        return
    print(f"{options.count:,} x {DIMENSION}; build in s, memory and disk in MiB, recall@10, all others in ms;")
    print("in brackets what a change took of the processor, by all threads of the process")
    print(f"{'':18}", *(f"{row:>{WIDTH}}" for row in ROWS))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name in options.libraries:
        command = [sys.executable, __file__, "--one", name, "--count", str(options.count)]
        command += ["--vectors", str(options.vectors)] if options.vectors else []
        try:
            done = subprocess.run(
                command, env={**os.environ, **threads}, capture_output=True, text=True, timeout=60 * options.minutes
            )
        except subprocess.TimeoutExpired:
            print(f"{name:18} not done after {options.minutes:g} minutes", flush=True)
            continue
        if done.returncode:
            print(f"{name:18} failed: {done.stderr.splitlines()[-1:]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:18}", *(f"{shown(found, row):>{WIDTH}}" for row in ROWS), flush=True)


if __name__ == "__main__":
    main()
