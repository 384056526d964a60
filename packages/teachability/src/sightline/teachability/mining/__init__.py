"""Splits, episodes, and the moments of them that are worth a look."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
