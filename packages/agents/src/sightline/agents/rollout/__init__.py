"""Play episodes: one, many, in worker processes or on a cluster, with a journal that survives a kill."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
