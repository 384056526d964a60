"""Plays models on the same tasks with the same noise and says what training gained, moved and lost."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
