"""The facade that the original project's scripts expect: bundles and a registry of policies."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
