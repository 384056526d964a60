"""Decide what an agent reads of a page: views, scorers, and the agents that put a view before an actor."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
