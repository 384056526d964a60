"""The networks: predictor, router, target encoders, and what is saved of them."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
