"""Rank sources by predicted embeddings, and measure rankings."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
