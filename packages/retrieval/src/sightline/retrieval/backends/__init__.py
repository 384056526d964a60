"""Search where vectors live: the local store, Qdrant, Pinecone, and failing over between them."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
