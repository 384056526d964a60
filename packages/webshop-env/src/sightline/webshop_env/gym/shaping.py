"""Rewards at every step that leave the best behaviour as it is."""

from __future__ import annotations

from typing import Any

import gymnasium

from sightline.webshop_env.episodes.reachable_rewards import reachable_reward
from sightline.webshop_env.gym.env import WebShopEnv
from sightline.webshop_env.rules.state import ShopState


class ShapedRewards(gymnasium.Wrapper[str, str, str, str]):
    """Add `discount * potential(next state) - potential(state)` to each reward.

    The potential is the best reward that is still within reach (`reachable_reward`) times the discount for each of the
    steps that it takes, and 0 after the purchase. What is added sums to a constant of the first state, so the ranking
    of policies is unchanged (A. Ng, D. Harada, S. Russell, "Policy invariance under reward transformations", 1999,
    theorem 1). It reads the goal: shape rewards in training, and evaluate without.

    Args:
        env: environment whose rewards are shaped.
        discount: the learner's discount factor, from 0 to 1, 0 excluded.
    """

    def __init__(self, env: WebShopEnv, discount: float = 1.0) -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, not {discount!r}")
        super().__init__(env)
        self._shop_env = env
        self._discount = discount

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action; `info["unshaped_reward"]` is the reward as the shop gives it."""
        before = self.potential(self._shop_env.state)
        observation, reward, terminated, truncated, info = self._shop_env.step(action)
        after = self.potential(self._shop_env.state)
        info["unshaped_reward"] = reward
        return observation, reward + self._discount * after - before, terminated, truncated, info

    def potential(self, state: ShopState) -> float:
        """Return the potential of a state, from 0 to 1; 0 after the purchase and where none can be made any more."""
        if state.done:
            return 0.0
        reward, steps = reachable_reward(self._shop_env.shop, state)
        return 0.0 if steps is None else reward * self._discount ** (steps - 1)
