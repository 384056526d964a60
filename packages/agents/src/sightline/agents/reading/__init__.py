"""TODO say what is in this room."""

from sightline.agents.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
