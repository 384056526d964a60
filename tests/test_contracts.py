"""The real classes keep the contracts that the packages which need them have written down."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from sightline.agents import (
    Environment,
    LexicalActor,
    RestorableEnvironment,
    baseline_rag,
    read_trajectories,
    roll_out,
    write_trajectories,
)
from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout import collect
from sightline.retrieval import ChunkingConfig, HashingEncoder
from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals, expert_action
from sightline.webshop_env.episodes import read_recordings, record, write_recordings
from sightline.webshop_env.episodes.replay import verify


@pytest.fixture(scope="module")
def shop() -> Shop:
    catalogue = Catalogue.generate(products=150, seed=3)
    return Shop(catalogue, build_goals(catalogue, "human", seed=3), step_limit=15)


def expert(environment: WebShopEnv) -> str:
    return expert_action(environment.shop, environment.state)


@pytest.mark.parametrize("contract", [Environment, RestorableEnvironment])
def test_the_shop_offers_every_method_that_agents_need(contract: type, shop: Shop) -> None:
    environment = WebShopEnv(shop=shop)
    for name in (name for name in dir(contract) if not name.startswith("_")):
        wanted = inspect.signature(getattr(contract, name)).parameters.keys() - {"self"}
        assert inspect.signature(getattr(environment, name)).parameters.keys() == wanted, name


def test_the_expert_shops_through_the_collector(shop: Shop) -> None:
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")
    episodes = collect(
        environment, range(30), expert, webshop_grammar, seed=0, max_steps=15, snapshots=True, progress=False
    )
    assert [episode.error for episode in episodes] == [None] * 30
    assert sum(episode.success for episode in episodes) >= 28


def test_an_agent_shops_and_its_episode_replays_to_the_same_reward(shop: Shop) -> None:
    environments = [WebShopEnv(shop=shop, observation_mode="text_rich") for _ in range(4)]
    agent = baseline_rag(
        LexicalActor(webshop_grammar), HashingEncoder(), webshop_grammar, top_k=5, chunking=ChunkingConfig()
    )
    episodes = roll_out(
        environments, agent, range(12), webshop_grammar, seed=0, max_steps=15, expert=expert, progress=False
    )
    for episode in episodes:
        assert episode.error is None
        observation, _ = environments[0].reset(seed=0, options={"goal": episode.goal})
        reward = 0.0
        for step in episode.steps:
            assert step.observation == observation
            observation, gained, *_ = environments[0].step(step.action)
            reward += gained
        assert observation == episode.final_observation
        assert reward == pytest.approx(episode.total_reward)


def test_the_instruction_is_stripped_from_every_page_but_the_last(shop: Shop) -> None:
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")
    (episode,) = collect(environment, [0], expert, webshop_grammar, seed=0, max_steps=15, progress=False)
    for step in episode.steps:
        assert episode.instruction in step.observation
        assert episode.instruction not in webshop_grammar.page_text(step.observation, episode.instruction)


def test_every_kind_of_action_occurs_in_the_shop_and_is_told_apart(shop: Shop) -> None:
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")
    episodes = collect(
        environment, range(40), expert, webshop_grammar, seed=1, max_steps=15, exploration=0.3, progress=False
    )
    found = {
        webshop_grammar.action_type(action)
        for episode in episodes
        for step in episode.steps
        for action in step.available_actions
    }
    assert found == set(webshop_grammar.action_types)


def test_candidates_are_what_the_shop_accepts(shop: Shop) -> None:
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")
    _, info = environment.reset(options={"goal": 1})
    search, *_ = webshop_grammar.candidate_actions(info["instruction_text"], info["available_actions"])
    state = environment.state
    _, outcome = shop.act(state, search)
    assert outcome.valid


@pytest.mark.parametrize("snapshots", [True, False])
def test_the_shop_reads_writes_and_replays_the_trajectories_of_agents(
    snapshots: bool, shop: Shop, tmp_path: Path
) -> None:
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")
    written, again = tmp_path / "written.jsonl", tmp_path / "again.jsonl"
    episodes = collect(
        environment,
        range(10),
        expert,
        webshop_grammar,
        seed=3,
        max_steps=15,
        exploration=0.3,
        snapshots=snapshots,
        progress=False,
    )
    write_trajectories(written, episodes)
    write_recordings(again, read_recordings(written))
    assert again.read_bytes() == written.read_bytes()
    assert [result.reproduces for result in verify(shop, written)] == [True] * 10


def test_agents_read_what_the_shop_records(shop: Shop, tmp_path: Path) -> None:
    state, moments = shop.start(0), []
    while not state.done:
        action = expert_action(shop, state)
        moments.append((state, action))
        state, _ = shop.act(state, action)
    path = tmp_path / "person.jsonl"
    write_recordings(path, [record(shop, moments, state, episode_id="one", agent="person")])
    (trajectory,) = read_trajectories(path)
    assert [step.action for step in trajectory.steps] == [action for _, action in moments]
    assert trajectory.total_reward == state.reward
