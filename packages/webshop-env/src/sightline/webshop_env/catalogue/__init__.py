"""Products: made up, read from the official files, or stored in a folder."""

from sightline.webshop_env.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
