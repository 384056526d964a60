"""What is measured at a snapshot: uncertainty, leverage, in-context teaching, quadrant, depth."""

from sightline.teachability.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
