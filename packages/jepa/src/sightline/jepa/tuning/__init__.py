"""Tune the encoder itself by LoRA: questions and their sources are drawn together, wrong pairs of a batch apart."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
