"""Fork an episode at its second page, try every product there, and keep the best branch.

uv run examples/time_travel.py --goal 9
"""

from __future__ import annotations

import argparse

from sightline.webshop_env import WebShopEnv, reachable_rewards


def main() -> None:
    """Ask of every product on the first page of results what it could still earn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goal", type=int, default=9, help="number of the goal")
    env = WebShopEnv(step_limit=15)
    _, info = env.reset(options={"goal": parser.parse_args().goal})
    search = max(reachable_rewards(env.shop, env.state).items(), key=lambda item: item[1])[0]
    env.step(search)
    token = env.snapshot()
    print(f"{info['instruction_text']}\n{search}: a snapshot of {len(token)} bytes")
    for action, (best, steps) in sorted(reachable_rewards(env.shop, env.state).items(), key=lambda item: -item[1][0]):
        env.restore(token)
        env.step(action)
        print(f"{action:30} up to {best:.2f} in {steps} steps, now at {env.info['url']}")


if __name__ == "__main__":
    main()
