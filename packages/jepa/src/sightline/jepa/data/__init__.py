"""Questions with their sources and steering: data sets, splits, batches and negatives."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
