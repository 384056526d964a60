"""Rank with words beside vectors: hybrid search, fusion, and a reranker."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
