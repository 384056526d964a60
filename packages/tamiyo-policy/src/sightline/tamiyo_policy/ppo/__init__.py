"""Recurrent PPO for any Gymnasium environment: rollouts, buffer, advantages, losses and updates."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
