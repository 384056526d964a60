"""Two-player games, their exact solver, matches with statistics, and learning by playing oneself."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
