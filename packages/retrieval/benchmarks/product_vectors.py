"""Embed the texts of made-up products with the packaged MiniLM, for benchmarks that should not make vectors up.

Run from the repository's root: ``uv run packages/retrieval/benchmarks/product_vectors.py products.npy --count 101032``.
It takes some nine minutes of one core's time; what was done before a kill is kept in ``products.npy.cache``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder
from sightline.webshop_env import Catalogue

WORDS, AT_ONCE = 20, 2_000


def product_texts(count: int) -> Iterator[str]:
    """Yield the first words of titles and descriptions, each text once, of as many products as it takes."""
    seen: set[str] = set()
    for product in Catalogue.generate(products=count + count // 4, seed=0):
        text = " ".join(f"{product.title}. {product.description}".split()[:WORDS])
        if text not in seen:
            seen.add(text)
            yield text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="the vectors, [count, 384] float32 unit rows, as .npy")
    parser.add_argument("--count", type=int, default=101_032)
    options = parser.parse_args()
    texts = list(islice(product_texts(options.count), options.count))
    if len(texts) < options.count:
        parser.error(f"there are {len(texts):,} different texts only")
    encoder = CachedEncoder(SentenceTransformerEncoder(), options.file.with_name(options.file.name + ".cache"))
    vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
    for start in range(0, len(texts), AT_ONCE):
        vectors[start : start + AT_ONCE] = encoder.encode(texts[start : start + AT_ONCE])
        print(f"{min(start + AT_ONCE, len(texts)):,} of {len(texts):,}", flush=True)
    np.save(options.file, vectors)


if __name__ == "__main__":
    main()
