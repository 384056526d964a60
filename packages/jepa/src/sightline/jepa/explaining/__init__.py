"""Explain predictions: evidence, calibrated confidence, decisions, faithfulness, and a page to read."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
