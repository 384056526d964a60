"""A verdict, a table and a figure for each hypothesis."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
