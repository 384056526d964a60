"""Predicts what a moment is worth from what costs nothing, always out of fold."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
