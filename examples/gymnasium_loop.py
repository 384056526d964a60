"""Play one goal with a rule, and look at every step.

uv run examples/gymnasium_loop.py --goal 9
"""

from __future__ import annotations

import argparse

from sightline.webshop_env import WebShopEnv, rule_action


def main() -> None:
    """Shop for one goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goal", type=int, default=9, help="number of the goal")
    env = WebShopEnv(step_limit=15)
    _, info = env.reset(options={"goal": parser.parse_args().goal})
    print(info["instruction_text"])
    ended, reward = False, 0.0
    while not ended:
        action = rule_action(info["instruction_text"], env.page)
        _, reward, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        print(f"{action:60} {info['url']}")
    print(f"reward {reward:.2f}")


if __name__ == "__main__":
    main()
