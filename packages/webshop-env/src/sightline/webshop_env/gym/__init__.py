"""The shop as a Gymnasium environment, single or vectorised."""

from sightline.webshop_env.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
