"""Keep documents in a folder, search them by words and meaning, and go on when the first backend is down.

uv run examples/store_with_fallback.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from qdrant_client import QdrantClient

from sightline.retrieval import Document, HashingEncoder, HybridSearch, LocalEmbeddingStore, RagRetriever
from sightline.retrieval.backends import LocalBackend, QdrantBackend

GUIDES = {
    "lamp": "Desk lamps: 400 lumen are enough to read by. Model B0771 swivels.",
    "mug": "Mugs: stoneware keeps coffee warm for longer. Model B0772 holds 0.4 litres.",
    "quilt": "Quilts: king size is 108 by 98 inches. Cotton can be washed at 60 degrees.",
}


def main() -> None:
    """Fill two backends, close the first, and ask again."""
    encoder = HashingEncoder()
    documents = [
        Document(id=name, content=text, metadata={"words": len(text.split())}) for name, text in GUIDES.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = LocalEmbeddingStore(encoder, Path(folder) / "store")
        qdrant = QdrantClient(":memory:")
        with RagRetriever([QdrantBackend(qdrant, encoder), LocalBackend(store)], encoder) as retriever:
            retriever.upsert(documents)
            answer = retriever.search("reading light", top_k=1)
            print(answer.backend, "answers:", answer.hits[0].document.id)
            print("by words:", HybridSearch(store).search("B0772", top_k=1)[0].document.id)
            qdrant.close()
            answer = retriever.search("wash a quilt", top_k=1)
            print(answer.backend, "answers:", answer.hits[0].document.id, "after", [a.backend for a in answer.attempts])


if __name__ == "__main__":
    main()
