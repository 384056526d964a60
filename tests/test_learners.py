"""Learners of other projects train in the shop."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals
from sightline.webshop_env.gym import DiscreteActions, MaskedObservations


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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray and RLlib warn of their own affairs
def test_rllib_trains_some_thousand_steps_on_legal_actions_and_gets_better() -> None:
    pytest.importorskip("ray.rllib")
    import ray
    from ray import tune
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule

    catalogue = Catalogue.generate(60, seed=4)
    shop = Shop(catalogue, build_goals(catalogue, "human", 4), step_limit=10)

    class Strict(MaskedObservations):
        def step(self, action: int):
            after = super().step(action)
            assert after[4]["action_is_valid"], after[4]["action_error"]  # RLlib passes it on
            return after

    def make(_: object) -> Strict:
        return Strict(DiscreteActions(WebShopEnv(shop=shop), max_actions=40))

    rng, env, rewards = np.random.default_rng(0), make(None), []
    for goal in range(100):
        seen, _ = env.reset(seed=goal)
        ended, reward = False, 0.0
        while not ended:
            seen, reward, terminated, truncated, _ = env.step(int(rng.choice(np.flatnonzero(seen["action_mask"]))))
            ended = terminated or truncated
        rewards.append(reward)
    tune.register_env("sightline-shop", make)
    config = (
        PPOConfig()
        .environment("sightline-shop")
        .env_runners(num_env_runners=0)
        .training(train_batch_size=1000, minibatch_size=100, num_epochs=10, lr=1e-3, gamma=1.0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActionMaskingTorchRLModule))
        .debugging(seed=0)
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        algorithm = config.build_algo()
        results = [algorithm.train()["env_runners"] for _ in range(5)]
        algorithm.stop()
    finally:
        ray.shutdown()
    assert results[-1]["num_env_steps_sampled_lifetime"] >= 5000
    assert results[-1]["episode_return_mean"] > np.mean(rewards) + 0.1
