"""Small environments that can only be solved with memory or masks."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
