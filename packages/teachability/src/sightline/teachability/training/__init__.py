"""Trains the student on moments: one stream of examples, two trainers, a matrix of runs, tiny runs, recoveries."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
