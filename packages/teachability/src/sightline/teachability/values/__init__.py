"""Chances of success: certified on a graph, sampled where the graph is too large."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
