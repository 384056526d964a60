"""The shop as pure functions of an immutable state: pages, actions, rendering and reward."""

from sightline.webshop_env.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
