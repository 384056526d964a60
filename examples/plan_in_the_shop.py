"""Search ahead in the shop, with the true reward: an upper bound for every agent that plans.

uv run examples/plan_in_the_shop.py --goals 5 --simulations 128
"""

from __future__ import annotations

import argparse

from sightline.agents import LexicalActor, baseline_react
from sightline.agents.grammar import webshop_grammar
from sightline.agents.planning import OracleReward, plan
from sightline.webshop_env import WebShopEnv


def main() -> None:
    """Plan each goal from its first page, and play the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=int, default=5, help="number of goals")
    parser.add_argument("--simulations", type=int, default=128, help="simulations of a search")
    arguments = parser.parse_args()
    env = WebShopEnv(step_limit=15)
    actor = baseline_react(LexicalActor(webshop_grammar), webshop_grammar, history_turns=2, history_characters=800)
    for goal in range(arguments.goals):
        env.reset(options={"goal": goal})
        best = plan(env, actor, webshop_grammar, simulations=arguments.simulations, rewards=OracleReward())
        reward = 0.0
        for action in best.actions:
            reward = env.step(action)[1]
        print(f"goal {goal}: {reward:.2f} by {' '.join(best.actions)}")


if __name__ == "__main__":
    main()
