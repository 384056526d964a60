"""Methods that a predictor must beat: from cosine similarity to a trained adapter."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
