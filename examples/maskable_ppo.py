"""Train MaskablePPO of sb3-contrib on the shop, and compare it with a rule on the same goals.

    uv run examples/maskable_ppo.py --steps 20000

A few thousand steps show that learning runs; they do not make a good shopper.
"""

from __future__ import annotations

import argparse

from sb3_contrib import MaskablePPO

from sightline.webshop_env import WebShopEnv, evaluate, rule_action, split_indices
from sightline.webshop_env.gym import DiscreteActions


def main() -> None:
    """Train, then play test goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of training")
    parser.add_argument("--goals", type=int, default=50, help="test goals")
    arguments = parser.parse_args()

    training = DiscreteActions(WebShopEnv(step_limit=15, split="train"))
    model = MaskablePPO("MlpPolicy", training, n_steps=256, seed=0, verbose=1)
    model.learn(arguments.steps)

    plain = WebShopEnv(step_limit=15)
    env = DiscreteActions(plain)
    rewards = []
    goals = split_indices("test", len(plain.goals))[: arguments.goals]
    for goal in goals:
        features, _ = env.reset(options={"goal": goal})
        ended, reward = False, 0.0
        while not ended:
            action, _ = model.predict(features, action_masks=env.action_masks(), deterministic=True)
            features, reward, terminated, truncated, _ = env.step(int(action))
            ended = terminated or truncated
        rewards.append(reward)
    print(f"MaskablePPO: success {sum(reward == 1 for reward in rewards) / len(rewards):.0%} of {len(rewards)} goals")
    print("rule:", evaluate(plain, lambda seen, info: rule_action(info["instruction_text"], plain.page), goals))


if __name__ == "__main__":
    main()
