"""The recordings of the original shop, replayed step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals
from sightline.webshop_env.catalogue.catalogue import write_catalogue

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recordings are not at {GOLDEN}")

RECORDINGS = [
    ("webshop/traces_human.jsonl", "human", 42),
    ("webshop/traces_synth.jsonl", "synthetic", 43),
    ("webshop-real/traces_synth.jsonl", "synthetic", 77),
]


@pytest.fixture(
    scope="module",
    params=[(*recording, stored) for stored in (False, True) for recording in RECORDINGS],
    ids=[f"{path}, {where}" for where in ("in memory", "stored") for path, _, _ in RECORDINGS],
)
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Shop, dict[str, list[dict[str, Any]]]]:
    path, kind, seed, stored = request.param
    folder = (GOLDEN / path).parent
    catalogue = Catalogue.from_official(
        products=folder / "items_shuffle.json",
        attributes=folder / "items_ins_v2.json",
        human=folder / "items_human_ins.json",
    )
    if stored:
        catalogue = write_catalogue(catalogue, tmp_path_factory.mktemp("stored") / "shop")
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in (GOLDEN / path).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        lines.setdefault(record["kind"], []).append(record)
    return Shop(catalogue, build_goals(catalogue, kind, seed)), lines


def test_every_step_shows_what_was_recorded(recording) -> None:
    shop, lines = recording
    text, rich = WebShopEnv(shop=shop, observation_mode="text"), WebShopEnv(shop=shop, observation_mode="text_rich")
    assert lines["episode"]
    for episode in lines["episode"]:
        goal = {"goal": episode["goal_index"]}
        observation, info = text.reset(options=goal)
        first = episode["reset"]
        session = first["url"].rpartition("/")[2]

        def address(session: str = session) -> str:
            return text.info["url"].replace("/s0", f"/{session}", 1)

        shown = (observation, rich.reset(options=goal)[0], info["available_actions"], address())
        assert shown == (first["text"], first["rich"], first["available"], first["url"])
        assert f"Instruction: {info['instruction_text']}" == first["instruction"]
        for step in episode["steps"]:
            observation, reward, done, truncated, info = text.step(step["action"])
            assert observation == step["text"], step["action"]
            assert rich.step(step["action"])[0] == step["rich"], step["action"]
            assert info["available_actions"] == step["available"]
            assert address() == step["url"]
            assert reward == pytest.approx(step["reward"], abs=1e-9)
            assert (done, truncated) == (step["done"], False)
            assert ("reward_info" in info) == done
        final, state = episode["final"], text.state
        assert (state.asin, dict(state.options)) == (final["asin"], final["options"])
        assert sorted(state.visited) == sorted(final["asins"])
        if state.done:
            assert state.reward == pytest.approx(final["reward"], abs=1e-9)
            assert info["reward_info"] == pytest.approx(final["info"], abs=1e-9)


def test_an_episode_goes_on_as_recorded_after_every_restore(recording) -> None:
    shop, lines = recording
    env, other = WebShopEnv(shop=shop), WebShopEnv(shop=shop)
    for episode in lines["episode"][:10]:
        env.reset(options={"goal": episode["goal_index"]})
        for step in episode["steps"]:
            other.restore(env.snapshot())
            assert other.step(step["action"])[0] == env.step(step["action"])[0] == step["text"]
