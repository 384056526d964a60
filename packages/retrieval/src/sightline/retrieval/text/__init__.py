"""Cut texts into chunks and encode them as unit vectors."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
