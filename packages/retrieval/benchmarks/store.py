"""Speed of the embedding store: against bare NumPy, by size, exact and approximate, and opening a large one.

Run from the repository's root on a quiet machine: ``uv run packages/retrieval/benchmarks/store.py``. A million vectors
take 2.5 GB of disk in the folder for temporary files and some minutes: add ``--open 1000000``. Indexes are built for
all ``--sizes``, at a minute or so per 100,000 vectors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval import Document, LocalEmbeddingStore

DIMENSION, TOP_K, BATCH = 384, 10, 32
ROUNDS = 30
CHUNK = 50_000

Vectors = NDArray[np.float32]


class NoEncoder:
    """Stands for an encoder where all vectors are given."""

    name = "given"
    dimension = DIMENSION

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Refuse."""
        raise NotImplementedError(f"the benchmark gives vectors, it encodes none of {len(texts)} texts")


def text_like_vectors(count: int, seed: int) -> Vectors:
    """Vectors in clusters and of a low intrinsic dimension, as embeddings of texts are, plus noise."""
    world = np.random.default_rng(0)
    centres, directions = world.standard_normal((500, 48)), world.standard_normal((48, DIMENSION)).astype(np.float32)
    rng = np.random.default_rng(seed)
    inner = (centres[rng.integers(0, 500, count)] + 0.8 * rng.standard_normal((count, 48))).astype(np.float32)
    vectors = inner @ directions + 1.5 * rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(store: LocalEmbeddingStore, count: int) -> float:
    """Add so many documents of 200 characters; returns documents per second."""
    spent = 0.0
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        vectors = text_like_vectors(size, seed=1 + start)
        documents = [
            Document(id=f"document-{n}", content="x" * 200, metadata={"n": n, "group": n % 100})
            for n in range(start, start + size)
        ]
        begun = time.perf_counter()
        store.add(documents, vectors)
        spent += time.perf_counter() - begun
    return count / spent


def interleaved(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each task; tasks take turns, so that a busy spell hits them all."""
    milliseconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            milliseconds[name].append(1000 * (time.perf_counter() - begun))
    return {name: float(np.median(spent)) for name, spent in milliseconds.items()}


def bare(vectors: Vectors, queries: Vectors) -> NDArray[np.intp]:
    """Search as cheaply as NumPy can: the product and the selection, without order, ties or documents."""
    return np.argpartition(queries @ vectors.T, -TOP_K, axis=1)[:, -TOP_K:]


def measure_size(count: int) -> None:
    """Print one row of the table."""
    queries = text_like_vectors(BATCH, seed=0)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalEmbeddingStore(NoEncoder(), folder, approximate_from=0) as store,
    ):
        rate = fill(store, count)
        vectors = np.fromfile(next(Path(folder).glob("vectors-*")), dtype="<f4").reshape(-1, DIMENSION)
        report = store.build_index()
        one = queries[0]
        spent = interleaved(
            {
                "bare batch": lambda: bare(vectors, queries),
                "batch": lambda: store.search_batch(queries, top_k=TOP_K),
                "bare": lambda: bare(vectors, one[None]),
                "single": lambda: store.search(one, top_k=TOP_K),
                "filtered": lambda: store.search(one, top_k=TOP_K, where={"group": 7}),
                "approximate": lambda: store.search(one, top_k=TOP_K, approximate=True),
            }
        )
        exact, found = (store.search_batch(queries, top_k=TOP_K, approximate=flag) for flag in (False, True))
        hits = [
            {hit.document.id for hit in a} & {hit.document.id for hit in b} for a, b in zip(exact, found, strict=True)
        ]
        recall = sum(len(common) for common in hits) / (BATCH * TOP_K)
    print(
        f"{count:9,d} {rate:8,.0f} {spent['bare batch']:8.1f} {spent['batch']:8.1f} "
        f"{spent['batch'] / spent['bare batch']:6.2f} {spent['bare']:8.2f} {spent['single']:8.2f} "
        f"{spent['filtered']:8.2f} {spent['approximate']:8.2f} "
        f"{recall:6.3f} {report.recall:6.3f} {report.seconds:7.0f}",
        flush=True,
    )


def measure_opening(count: int) -> None:
    """Print how long a store of this size takes to open, after it was written."""
    with tempfile.TemporaryDirectory() as folder:
        with LocalEmbeddingStore(NoEncoder(), folder) as store:
            fill(store, count)
        for read_only in (False, True):
            begun = time.perf_counter()
            with LocalEmbeddingStore(NoEncoder(), folder, read_only=read_only) as store:
                opened = time.perf_counter() - begun
                begun = time.perf_counter()
                store.search(text_like_vectors(1, seed=0)[0], top_k=TOP_K)
                first = time.perf_counter() - begun
                spent = interleaved({"single": lambda store=store: store.search(text_like_vectors(1, seed=0)[0])})
            kind = "for reading" if read_only else "for writing"
            print(
                f"{count:,} vectors opened {kind} in {opened:.3f} s; first search {first:.2f} s, "
                f"then {spent['single']:.0f} ms"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 50_000, 100_000, 200_000])
    parser.add_argument("--open", type=int, default=100_000, help="vectors of the store whose opening is timed")
    options = parser.parse_args()
    print(f"{DIMENSION} dimensions, top {TOP_K}, batches of {BATCH}; median milliseconds of {ROUNDS} rounds; on disk")
    print("          added/s  batch of 32          ratio  single query: bare, exact, filtered 1 %, approximate;")
    print(
        "    size            bare     ours                                          recall@10 here, reported; build s"
    )
    for size in options.sizes:
        measure_size(size)
    measure_opening(options.open)


if __name__ == "__main__":
    main()
