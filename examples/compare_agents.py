"""Play three agents on the same goals, and say what the differences mean.

uv run examples/compare_agents.py --goals 60
"""

from __future__ import annotations

import argparse

from sightline.agents import LexicalActor, baseline_rag, baseline_react, roll_out, summarise
from sightline.agents.evaluation import compare, results_table, verdict_text
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import random_gated
from sightline.retrieval import ChunkingConfig, HashingEncoder
from sightline.webshop_env import WebShopEnv


def main() -> None:
    """Compare reading everything, reading what resembles the instruction, and reading at random."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=int, default=60, help="number of goals")
    goals = range(parser.parse_args().goals)
    actor, chunking = LexicalActor(webshop_grammar), ChunkingConfig()
    agents = [
        baseline_react(actor, webshop_grammar, history_turns=2, history_characters=800),
        baseline_rag(actor, HashingEncoder(), webshop_grammar, top_k=3, chunking=chunking),
        random_gated(actor, webshop_grammar, seed=0, top_k=3, chunking=chunking),
    ]
    shop = WebShopEnv().shop
    environments = [WebShopEnv(shop=shop) for _ in range(16)]
    episodes = {
        agent.name: [roll_out(environments, agent, goals, webshop_grammar, seed=0, max_steps=15)] for agent in agents
    }
    print(results_table(summarise(episodes, seed=0)).markdown())
    print(verdict_text(compare(episodes, "baseline_rag", "baseline_react", seed=0)))


if __name__ == "__main__":
    main()
