"""How fast an index of words follows its store, and a store its folder.

Run from the repository's root on a quiet machine: ``uv run packages/retrieval/benchmarks/following.py``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from sightline.retrieval import Document, HashingEncoder, HybridSearch, LocalEmbeddingStore
from sightline.retrieval.ranking import WordIndex

ENCODER = HashingEncoder(16)
ROUNDS = 10


def texts(count: int, seed: int) -> list[str]:
    """Texts of 40 words, which are as frequent as words are (Zipf)."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, 30_001)
    numbers = rng.choice(30_000, (count, 40), p=shares / shares.sum())
    return [" ".join(f"w{number}" for number in row) for row in numbers]


def measure_refresh(count: int) -> None:
    """Print how long a search by words takes to follow three changes, and what searching costs."""
    with tempfile.TemporaryDirectory() as folder, LocalEmbeddingStore(ENCODER, Path(folder) / "store") as store:
        vectors = np.random.default_rng(0).normal(size=(count, 16))
        contents = texts(count, 0)
        store.add((Document(id=str(n), content=text) for n, text in enumerate(contents)), vectors)
        begun = time.perf_counter()
        search = HybridSearch(store, WordIndex(Path(folder) / "words.sqlite"))
        print(f"{count:,} texts: words indexed in {time.perf_counter() - begun:.1f} s")
        refreshes, answers = [], []
        for number, query in enumerate(texts(ROUNDS, 1)):
            store.upsert([Document(id=str(number), content="now another text")], vectors[:1])
            store.add([Document(id=f"new {number}", content=query)], vectors[:1])
            store.delete([str(count - 1 - number)])
            begun = time.perf_counter()
            assert search.refresh()
            refreshes.append(1000 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            search.search(" ".join(query.split()[:6]))
            answers.append(1000 * (time.perf_counter() - begun))
        print(
            f"refresh after 3 changes {np.median(refreshes):.1f} ms (most {max(refreshes):.1f}), then a query of 6 "
            f"words {np.median(answers):.1f} ms"
        )


def measure_sync(count: int) -> None:
    """Print how long an unchanged folder takes."""
    with tempfile.TemporaryDirectory() as folder, LocalEmbeddingStore(ENCODER, Path(folder) / "store") as store:
        docs = Path(folder) / "docs"
        for number, text in enumerate(texts(count, 2)):
            path = docs / f"{number % 100}" / f"{number}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        spent = []
        for _ in range(4):
            begun = time.perf_counter()
            report = store.sync(docs, "**/*.md")
            spent.append(time.perf_counter() - begun)
        assert report.unchanged == count
        print(f"{count:,} files: first sync {spent[0]:.1f} s, unchanged {min(spent[1:]):.2f} to {max(spent[1:]):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    measure_refresh(options.texts)
    measure_sync(options.files)


if __name__ == "__main__":
    main()
