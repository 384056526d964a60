"""What a large store costs: one that grows to each of some sizes, is searched exactly, and by an index of each kind.

Run from the repository's root; a million vectors of 384 numbers take 2.2 GB of disk and some minutes of two cores::

    uv run packages/retrieval/benchmarks/size.py --counts 100000 300000 1000000 --precisions binary

The vectors are made up, in clusters as those of texts are, and are written as they are made. Times are by the wall, and
in brackets what the processor worked; NumPy's products have the threads that it is given.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from libraries import Clock, own_megabytes
from store import DIMENSION, NoEncoder, text_like_vectors

from sightline.retrieval import Document, LocalEmbeddingStore
from sightline.retrieval.store.nearest.hnsw import Precision

AT_ONCE, TOP_K, BATCH, GROUPS = 20_000, 10, 32, 100


def grow(store: LocalEmbeddingStore, count: int) -> Clock:
    """Add documents of 200 characters until there are so many; making their vectors is not counted."""
    clock = Clock()
    for start in range(len(store), count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, count))
        vectors = text_like_vectors(len(numbers), seed=1 + start)
        documents = [Document(id=f"{n}", content="x" * 200, metadata={"group": n % GROUPS}) for n in numbers]
        clock.time(lambda documents=documents, vectors=vectors: store.add(documents, vectors))
    return clock


def median_times(task: Callable[[], object]) -> str:
    """Return the median milliseconds of a task, and in brackets those of the processor, of three after a first time."""
    task()
    spent = []
    for _ in range(3):
        clock = Clock()
        clock.time(task)
        spent.append((clock.wall, clock.processor))
    wall, processor = (1000 * sorted(column)[1] for column in zip(*spent, strict=True))
    return f"{wall:,.1f} ms ({processor:,.1f})"


def measure_searches(store: LocalEmbeddingStore, *, approximate: bool) -> list[set[str]]:
    """Print the time of searches, and return the ids that each of a batch of queries found."""
    queries = text_like_vectors(BATCH, seed=0)
    kind = "by index" if approximate else "exact"
    for name, task in (
        ("one query", lambda: store.search(queries[0], top_k=TOP_K, approximate=approximate)),
        (f"{BATCH} queries", lambda: store.search_batch(queries, top_k=TOP_K, approximate=approximate)),
    ):
        print(f"  {kind}, {name}: {median_times(task)}", flush=True)
    found = store.search_batch(queries, top_k=TOP_K, approximate=approximate)
    return [{hit.document.id for hit in hits} for hits in found]


def measure_index(store: LocalEmbeddingStore, folder: Path, precision: Precision, exact: list[set[str]]) -> None:
    """Build an index and print what it costs and finds."""
    clock = Clock()
    clock.time(lambda: store.build_index(precision=precision))
    print(f"  index {precision:7} built in {clock.wall:,.0f} s ({clock.processor:,.0f})")
    (file,) = folder.glob("index-*")
    print(f"  its file takes {file.stat().st_size / 1e6:,.0f} MB")
    found = measure_searches(store, approximate=True)
    recall = sum(len(a & b) for a, b in zip(found, exact, strict=True)) / (BATCH * TOP_K)
    print(f"  recall@{TOP_K} of {BATCH} queries after rescoring {recall:.3f}", flush=True)


def measure(folder: Path, counts: list[int], precisions: list[Precision]) -> None:
    """Print what a store costs at each size, one after another."""
    for count in sorted(counts):
        with LocalEmbeddingStore(NoEncoder(), folder, approximate_from=0) as store:
            clock = grow(store, count)
        begun = time.perf_counter()
        with LocalEmbeddingStore(NoEncoder(), folder, approximate_from=0) as store:
            opened = time.perf_counter() - begun
            print(f"{count:,} x {DIMENSION}: added in {clock.wall:,.0f} s ({clock.processor:,.0f})")
            print(f"  opened in {opened:.2f} s")
            exact = measure_searches(store, approximate=False)
            query = text_like_vectors(1, seed=0)[0]
            filtered = median_times(lambda query=query: store.search(query, top_k=TOP_K, where={"group": 7}))
            print(
                f"  exact, with a filter of 1 %: {filtered}; memory of its own {own_megabytes():,.0f} MiB",
                flush=True,
            )
            for precision in precisions:
                measure_index(store, folder, precision, exact)
        for path in sorted(folder.iterdir()):
            print(f"  {path.name:28} {path.stat().st_size / 1e6:9,.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--precisions", nargs="*", default=["binary"], choices=["binary", "int8"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.counts, options.precisions)


if __name__ == "__main__":
    main()
