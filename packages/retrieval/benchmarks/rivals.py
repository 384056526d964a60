"""The libraries that `libraries.py` compares, each behind the few methods that are timed."""

# ruff: noqa: D102 (what each method of a library does, the protocol says once)

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from store import DIMENSION, NoEncoder, Vectors

TOP_K, GROUPS = 10, 100
TEXT = "x" * 200


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
    """Qdrant embedded in the process: an exact search in Python and NumPy, without a server.

    It waits for the disk once for every point, up to an hour for 100,000; so its files are kept in memory here.
    """

    files_in_memory = True

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
        self.table.delete(f"id IN ({', '.join(map(str, ids))})")


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
