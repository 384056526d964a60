"""Learners of other projects train in the shop."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals
from sightline.webshop_env.gym import DiscreteActions


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the learner, about wrappers and the shapes of observations
def test_maskable_ppo_trains_and_takes_only_legal_actions() -> None:
    maskable = pytest.importorskip("sb3_contrib")
    catalogue = Catalogue.generate(60, seed=4)
    shop = Shop(catalogue, build_goals(catalogue, "human", 4), step_limit=10)
    env = DiscreteActions(WebShopEnv(shop=shop), max_actions=40)

    def mean_reward(choose) -> float:
        rewards = []
        for goal in range(60):
            observation, _ = env.reset(seed=goal, options={"goal": goal})
            ended, reward = False, 0.0
            while not ended:
                observation, reward, terminated, truncated, info = env.step(choose(observation, env.action_masks()))
                assert info["action_is_valid"]
                ended = terminated or truncated
            rewards.append(float(reward))
        return float(np.mean(rewards))

    rng = np.random.default_rng(0)
    random = mean_reward(lambda _, mask: int(rng.choice(np.flatnonzero(mask))))
    model = maskable.MaskablePPO("MlpPolicy", env, n_steps=256, batch_size=64, seed=0, device="cpu")
    model.learn(6000)
    learned = mean_reward(lambda observation, mask: int(model.predict(observation, action_masks=mask)[0]))
    assert learned > random + 0.1
