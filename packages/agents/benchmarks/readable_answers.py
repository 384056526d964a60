"""What share of a served model's answers names an action: questions of ReAct in the shop, to an OpenAI-like server.

    transformers serve --port 8000
    uv run packages/agents/benchmarks/readable_answers.py --base-url http://localhost:8000/v1 --model ID

No question is repeated, so an answer that cannot be read counts once.
"""

from __future__ import annotations

import argparse
import os

from sightline.agents import ChatActor, baseline_react, roll_out
from sightline.agents.chat import ChatConfig
from sightline.agents.grammar import webshop_grammar
from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True, help="address of the server; its key is OPENAI_API_KEY")
    parser.add_argument("--model", required=True, help="name of the model there")
    parser.add_argument("--goals", type=int, default=8, help="goals to shop for")
    parser.add_argument("--steps", type=int, default=3, help="most questions for each goal")
    arguments = parser.parse_args()

    catalogue = Catalogue.generate(150, 3)
    shop = Shop(catalogue, build_goals(catalogue, "human", seed=3), step_limit=15)
    environments = [WebShopEnv(shop=shop, observation_mode="text_rich") for _ in range(2)]
    config = ChatConfig(
        model=arguments.model,
        base_url=arguments.base_url,
        parameters={"max_tokens": 24},
        timeout=600,
        concurrency=1,
        reasks=0,
    )
    key = os.environ.get("OPENAI_API_KEY", "none")
    with ChatActor(config, role=webshop_grammar.role, api_key=key) as actor:
        agent = baseline_react(actor, webshop_grammar, history_turns=0, history_characters=0)
        goals = range(arguments.goals)
        episodes = roll_out(environments, agent, goals, webshop_grammar, seed=0, max_steps=arguments.steps)
        read = sum(len(episode.steps) for episode in episodes)
        asked = read + actor.parse_failures
    print(f"{read} of {asked} answers named an action ({read / asked:.1%})")


if __name__ == "__main__":
    main()
