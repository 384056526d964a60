"""Chooses what to teach in several ways and asks whether the choice mattered."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
