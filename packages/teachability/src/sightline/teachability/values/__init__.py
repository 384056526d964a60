"""Chances of success: certified on a graph, sampled where the graph is too large."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
