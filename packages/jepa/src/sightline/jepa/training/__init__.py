"""Train: objective, curriculum, checkpoints that resume exactly, history, and signs of collapse."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
