"""Grow hosts by actions: the environment, its observations, masks, rewards and rules."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
