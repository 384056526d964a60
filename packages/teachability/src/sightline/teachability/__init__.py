"""Which moments of an agent's failures teach, measured.

`mine_failures` finds moments, a `Labeller` measures them on certified values of a `ValueGraph`, `assign_quadrants`
places them; the sub-packages train on them, predict what they are worth, and ask whether the prediction was worth it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
