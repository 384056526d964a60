"""Which moments of an agent's failures teach, measured.

`mine_failures` finds moments, a `Labeller` measures them on certified values of a `ValueGraph`, `assign_quadrants`
places them; the sub-packages train on them, predict what they are worth, and ask whether the prediction was worth it.
"""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
