"""Splits, episodes, and the moments of them that are worth a look."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
