"""Keep documents with their vectors on disk, filter and search them."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
