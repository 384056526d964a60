"""Recurrent PPO with factored, masked actions, and a policy that grows neural networks while they train.

Start with `RecurrentPPO` on any Gymnasium vector environment, or with `GrowthEnvironment`. Names are imported on first
use.
"""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
