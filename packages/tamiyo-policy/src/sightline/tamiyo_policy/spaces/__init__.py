"""Gymnasium's spaces as what networks read and choose: rows of numbers, heads, masks."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
