"""The embedding store beside other libraries, in one run: time, memory and disk of what a user does.

Run from the repository's root on a quiet machine::

    uv run --package sightline-retrieval --group benchmark --extra approximate --extra qdrant \
        packages/retrieval/benchmarks/libraries.py

Every library has a process of its own, one after another, with one thread for NumPy's products; what the databases do
with threads is theirs. All hold the same vectors, texts of 200 characters and a number to filter by.
"""

# ruff: noqa: D102 (what each method of a library does, the protocol says once)

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from store import DIMENSION, NoEncoder, Vectors, text_like_vectors

TOP_K, BATCH, GROUPS, CHANGED, AT_ONCE = 10, 32, 100, 1000, 5000
TEXT = "x" * 200
ROWS = ("build", "open", "single", "batch", "filtered", "upsert", "delete", "memory", "disk", "recall")


class Library(Protocol):
    """What is timed: adding, what ends a build, opening, searching, changing. Ids are numbers."""

    def add(self, ids: range, vectors: Vectors) -> None: ...
    def finish(self) -> None: ...
    def open(self) -> None: ...
    def search(self, queries: Vectors, group: int | None) -> list[list[int]]: ...
    def upsert(self, ids: range, vectors: Vectors) -> None: ...
    def delete(self, ids: range) -> None: ...


class Ours:
    """The store of this package, exact or by an index."""

    precision: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        from sightline.retrieval import LocalEmbeddingStore

        if hasattr(self, "store"):
            self.store.close()
        self.store = LocalEmbeddingStore(NoEncoder(), self.folder, approximate_from=0)

    def _documents(self, ids: range) -> Iterator[Any]:
        from sightline.retrieval import Document

        return (Document(id=str(n), content=TEXT, metadata={"group": n % GROUPS}) for n in ids)

    def add(self, ids: range, vectors: Vectors) -> None:
        self.store.add(self._documents(ids), vectors)

    def finish(self) -> None:
        if self.precision is not None:
            self.store.build_index(precision=self.precision)  # ty: ignore[invalid-argument-type]

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        where = None if group is None else {"group": group}
        approximate = self.precision is not None
        found = self.store.search_batch(queries, top_k=TOP_K, where=where, approximate=approximate)
        return [[int(hit.document.id) for hit in hits] for hits in found]

    def upsert(self, ids: range, vectors: Vectors) -> None:
        self.store.upsert(self._documents(ids), vectors)

    def delete(self, ids: range) -> None:
        self.store.delete(map(str, ids))


class OursInt8(Ours):
    """The store with an index of 8-bit numbers."""

    precision = "int8"


class OursBinary(Ours):
    """The store with an index of bits."""

    precision = "binary"


class NumPy:
    """An array and a product, saved as a file: no texts, no ids, no durability."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.npy"
        self.parts: list[Vectors] = []

    def add(self, ids: range, vectors: Vectors) -> None:
        del ids
        self.parts.append(vectors)

    def finish(self) -> None:
        self.vectors = np.concatenate(self.parts)
        self.groups = np.arange(len(self.vectors)) % GROUPS
        np.save(self.path, self.vectors)

    def open(self) -> None:
        self.vectors = np.load(self.path)

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        rows = np.arange(len(self.vectors)) if group is None else np.flatnonzero(self.groups == group)
        scores = queries @ (self.vectors if group is None else self.vectors[rows]).T
        best = np.argpartition(scores, -TOP_K, axis=1)[:, -TOP_K:]
        order = np.take_along_axis(scores, best, axis=1).argsort(axis=1)[:, ::-1]
        return rows[np.take_along_axis(best, order, axis=1)].tolist()

    def upsert(self, ids: range, vectors: Vectors) -> None:
        self.vectors[ids.start : ids.stop] = vectors

    def delete(self, ids: range) -> None:
        self.vectors = np.delete(self.vectors, slice(ids.start, ids.stop), axis=0)


class Faiss:
    """faiss's flat index with ids, saved as a file: no texts, no filters beyond ids, no durability."""

    def __init__(self, folder: Path) -> None:
        import faiss  # ty: ignore[import-not-found] (in the group benchmark)

        faiss.omp_set_num_threads(1)
        self.faiss, self.path = faiss, str(folder / "index.faiss")
        self.index = faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION))

    def add(self, ids: range, vectors: Vectors) -> None:
        self.index.add_with_ids(vectors, np.array(ids))

    def finish(self) -> None:
        self.faiss.write_index(self.index, self.path)

    def open(self) -> None:
        self.index = self.faiss.read_index(self.path)

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        if group is None:
            return self.index.search(queries, TOP_K)[1].tolist()
        selector = self.faiss.IDSelectorBatch(np.arange(group, self.index.ntotal, GROUPS))
        return self.index.search(queries, TOP_K, params=self.faiss.SearchParameters(sel=selector))[1].tolist()

    def upsert(self, ids: range, vectors: Vectors) -> None:
        self.index.remove_ids(np.array(ids))
        self.index.add_with_ids(vectors, np.array(ids))

    def delete(self, ids: range) -> None:
        self.index.remove_ids(np.array(ids))


class Usearch:
    """usearch's HNSW index: no texts, no filters, no durability."""

    def __init__(self, folder: Path) -> None:
        from usearch.index import Index

        self.path = str(folder / "index.usearch")
        self.index = Index(ndim=DIMENSION, metric="ip", dtype="f32")

    def add(self, ids: range, vectors: Vectors) -> None:
        self.index.add(np.array(ids), vectors, threads=1)

    def finish(self) -> None:
        self.index.save(self.path)

    def open(self) -> None:
        self.index.load(self.path)

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        if group is not None:
            raise NotImplementedError
        return np.atleast_2d(self.index.search(queries, TOP_K, threads=1).keys).tolist()

    def upsert(self, ids: range, vectors: Vectors) -> None:
        self.index.remove(np.array(ids))
        self.index.add(np.array(ids), vectors, threads=1)

    def delete(self, ids: range) -> None:
        self.index.remove(np.array(ids))


class Qdrant:
    """Qdrant embedded in the process, on disk: an exact search in Python and NumPy, without a server."""

    def __init__(self, folder: Path) -> None:
        from qdrant_client import QdrantClient, models

        self.models, self.folder, self.connect = models, str(folder / "qdrant"), QdrantClient
        self.client = QdrantClient(path=self.folder)
        params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
        self.client.create_collection("c", vectors_config=params)

    def add(self, ids: range, vectors: Vectors) -> None:
        points = [
            self.models.PointStruct(id=n, vector=row, payload={"text": TEXT, "group": n % GROUPS})
            for n, row in zip(ids, vectors.tolist(), strict=True)
        ]
        self.client.upsert("c", points)

    upsert = add

    def finish(self) -> None:
        """Do nothing: what was upserted is on the disk."""

    def open(self) -> None:
        self.client.close()
        self.client = self.connect(path=self.folder)

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        where = None
        if group is not None:
            match = self.models.FieldCondition(key="group", match=self.models.MatchValue(value=group))
            where = self.models.Filter(must=[match])
        found = [
            self.client.query_points("c", query=query, query_filter=where, limit=TOP_K) for query in queries.tolist()
        ]
        return [[int(point.id) for point in one.points] for one in found]

    def delete(self, ids: range) -> None:
        self.client.delete("c", points_selector=self.models.PointIdsList(points=list(ids)))


class LanceDB:
    """LanceDB embedded in the process, searched exactly, as it is without an index."""

    def __init__(self, folder: Path) -> None:
        import lancedb  # ty: ignore[import-not-found] (in the group benchmark)
        import pyarrow

        self.arrow, self.connect, self.folder = pyarrow, lancedb.connect, str(folder / "lance")
        self.database = lancedb.connect(self.folder)
        self.table: Any = None

    def _rows(self, ids: range, vectors: Vectors) -> Any:
        flat = self.arrow.array(vectors.reshape(-1))
        return self.arrow.table(
            {
                "id": list(ids),
                "vector": self.arrow.FixedSizeListArray.from_arrays(flat, DIMENSION),
                "text": [TEXT] * len(ids),
                "group": [n % GROUPS for n in ids],
            }
        )

    def add(self, ids: range, vectors: Vectors) -> None:
        if self.table is None:
            self.table = self.database.create_table("t", self._rows(ids, vectors))
        else:
            self.table.add(self._rows(ids, vectors))

    def finish(self) -> None:
        self.table.optimize()

    def open(self) -> None:
        self.table = self.connect(self.folder).open_table("t")

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        found = []
        for query in queries:
            asked = self.table.search(query).distance_type("cosine").limit(TOP_K)
            asked = asked if group is None else asked.where(f"`group` = {group}", prefilter=True)
            found.append(asked.to_arrow()["id"].to_pylist())
        return found

    def upsert(self, ids: range, vectors: Vectors) -> None:
        merge = self.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(self._rows(ids, vectors))

    def delete(self, ids: range) -> None:
        self.table.delete(f"id >= {ids.start} AND id < {ids.stop}")


class Chroma:
    """Chroma embedded in the process, on disk, with its HNSW index."""

    def __init__(self, folder: Path) -> None:
        import chromadb  # ty: ignore[import-not-found] (in the group benchmark)

        self.make = lambda: chromadb.PersistentClient(
            path=str(folder / "chroma"), settings=chromadb.Settings(anonymized_telemetry=False)
        )
        self.collection = self.make().create_collection(
            "goods", metadata={"hnsw:space": "cosine"}, embedding_function=None
        )

    def add(self, ids: range, vectors: Vectors) -> None:
        self.collection.upsert(
            ids=[str(n) for n in ids],
            embeddings=vectors,
            documents=[TEXT] * len(ids),
            metadatas=[{"group": n % GROUPS} for n in ids],
        )

    upsert = add

    def finish(self) -> None:
        """Do nothing: what was upserted is on the disk."""

    def open(self) -> None:
        self.collection = self.make().get_collection("goods", embedding_function=None)

    def search(self, queries: Vectors, group: int | None) -> list[list[int]]:
        where = {} if group is None else {"where": {"group": group}}
        found = self.collection.query(query_embeddings=queries, n_results=TOP_K, include=["documents"], **where)
        return [[int(one) for one in ids] for ids in found["ids"]]

    def delete(self, ids: range) -> None:
        self.collection.delete(ids=[str(n) for n in ids])


LIBRARIES: dict[str, Callable[[Path], Library]] = {
    "sightline": Ours,
    "sightline int8": OursInt8,
    "sightline binary": OursBinary,
    "NumPy": NumPy,
    "faiss-cpu flat": Faiss,
    "usearch HNSW": Usearch,
    "Qdrant embedded": Qdrant,
    "LanceDB": LanceDB,
    "Chroma": Chroma,
}


def median_ms(task: Callable[[], object], seconds: float) -> float:
    """Return the median milliseconds of a task, run for so many seconds and at least 3 times after a first time."""
    task()
    spent: list[float] = []
    while len(spent) < 3 or (sum(spent) < seconds and len(spent) < 50):
        begun = time.perf_counter()
        task()
        spent.append(time.perf_counter() - begun)
    return 1000 * float(np.median(spent))


def measure(name: str, count: int, folder: Path) -> dict[str, float | None]:
    """Do with one library what is timed."""
    queries = text_like_vectors(BATCH, seed=0)
    result: dict[str, float | None] = {}
    library = LIBRARIES[name](folder)
    spent, everything = 0.0, []
    for start in range(0, count, AT_ONCE):
        vectors = text_like_vectors(min(AT_ONCE, count - start), seed=1 + start)
        everything.append(vectors)
        begun = time.perf_counter()
        library.add(range(start, start + len(vectors)), vectors)
        spent += time.perf_counter() - begun
    begun = time.perf_counter()
    library.finish()
    result["build"] = spent + time.perf_counter() - begun
    truth = np.argsort(-(queries @ np.concatenate(everything).T), axis=1)[:, :TOP_K].tolist()
    del everything
    begun = time.perf_counter()
    library.open()
    found = library.search(queries[:1], None)
    result["open"] = 1000 * (time.perf_counter() - begun)
    result["single"] = median_ms(lambda: library.search(queries[:1], None), 3)
    result["batch"] = median_ms(lambda: library.search(queries, None), 6)
    found = library.search(queries, None)
    result["recall"] = float(np.mean([len({*a} & {*b}) / TOP_K for a, b in zip(found, truth, strict=True)]))
    with suppress(NotImplementedError):
        result["filtered"] = median_ms(lambda: library.search(queries[:1], 7), 3)
    result["memory"] = own_megabytes()
    result["disk"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    for row, act in (
        ("upsert", lambda: library.upsert(range(CHANGED), text_like_vectors(CHANGED, seed=5))),
        ("delete", lambda: library.delete(range(CHANGED))),
    ):
        begun = time.perf_counter()
        act()
        result[row] = 1000 * (time.perf_counter() - begun)
    return result


def own_megabytes() -> float:
    """Return memory of this process that no file backs, in MiB: what a mapped file takes can be given back."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--libraries", nargs="*", default=list(LIBRARIES), choices=list(LIBRARIES))
    parser.add_argument("--minutes", type=float, default=30, help="most time for one library")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.one, options.count, Path(folder))))
        return
    print(f"{options.count:,} x {DIMENSION}; build in s, memory and disk in MiB, recall@10, all others in ms")
    print(f"{'':18}", *(f"{row:>9}" for row in ROWS))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name in options.libraries:
        command = [sys.executable, __file__, "--one", name, "--count", str(options.count)]
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
        shown = ["-" if found.get(row) is None else f"{found[row]:.3g}" for row in ROWS]
        print(f"{name:18}", *(f"{one:>9}" for one in shown), flush=True)


if __name__ == "__main__":
    main()
