"""What rollouts over workers need to import: the shop's environments and the agents that play in it."""

from __future__ import annotations

from functools import cache

from sightline.agents import LexicalActor, ReadingAgent, baseline_react
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import random_gated
from sightline.agents.student.config import PACKAGED_STUDENT
from sightline.retrieval import ChunkingConfig
from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals, expert_action


@cache
def open_shop() -> Shop:
    catalogue = Catalogue.generate(products=150, seed=3)
    return Shop(catalogue, build_goals(catalogue, "human", seed=3), step_limit=15)


def open_environments(count: int) -> list[WebShopEnv]:
    return [WebShopEnv(shop=open_shop(), observation_mode="text_rich") for _ in range(count)]


def expert(environment: WebShopEnv) -> str:
    return expert_action(environment.shop, environment.state)


def make_random_gated() -> ReadingAgent:
    return random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=0, top_k=5, chunking=ChunkingConfig())


def make_student() -> ReadingAgent:
    import torch  # here, so that workers without a model need not wait for it

    from sightline.agents import LanguageModelActor

    torch.set_num_threads(1)  # as in workers
    actor = LanguageModelActor(PACKAGED_STUDENT, device="cpu", length_normalised=True)
    return baseline_react(actor, webshop_grammar, history_turns=2, history_characters=400)
