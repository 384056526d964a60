"""Train the small language model that acts, and keep the packaged one."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
