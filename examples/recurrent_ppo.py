"""Train recurrent PPO on a task that needs memory, and compare it with the same network without.

uv run examples/recurrent_ppo.py --steps 30000
"""

from __future__ import annotations

import argparse

from sightline.tamiyo_policy import PPOConfig, RecurrentPPO, RecurrentPPOConfig
from sightline.tamiyo_policy.tasks import RepeatPrevious


def main() -> None:
    """Say what was seen four steps before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30_000, help="environment steps")
    config = RecurrentPPOConfig(num_steps=48, ppo=PPOConfig(learning_rate=3e-3))
    trainer = RecurrentPPO(RepeatPrevious(num_envs=16), config, seed=0)
    trainer.learn(
        parser.parse_args().steps,
        on_round=lambda row: print(
            f"{row['steps']:>7.0f} steps, return {row.get('episode_return', float('nan')):+.2f}"
        ),
    )


if __name__ == "__main__":
    main()
