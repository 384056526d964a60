"""Search that looks ahead: Monte Carlo tree search over games, puzzles and restorable environments, with NumPy alone.

`Search` plans in a `Model`, or in a `Game` of twenty lines.
"""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
