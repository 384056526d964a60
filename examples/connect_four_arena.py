"""Let two tree searches play Connect Four in pairs with colours swapped, until it is clear which is better.

uv run examples/connect_four_arena.py --pairs 40
"""

from __future__ import annotations

import argparse

from sightline.agents.selfplay import Arena, ConnectFour, MCTSPlayer


def main() -> None:
    """Compare 100 simulations with 25."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="openings, each played with both colours")
    arena = Arena(ConnectFour(6, 5), openings=parser.parse_args().pairs)
    result = arena.compare(MCTSPlayer(100), MCTSPlayer(25))
    print(
        f"{result.candidate} against {result.opponent}: {result.win_rate}, {result.eval_games} games, {result.verdict}"
    )


if __name__ == "__main__":
    main()
