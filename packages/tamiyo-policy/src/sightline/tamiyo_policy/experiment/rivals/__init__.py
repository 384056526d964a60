"""Growth methods of the field, which add hidden units by rules of their own, in the same hosts and on the same data."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
