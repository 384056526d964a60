"""The recordings of the original shop, replayed over the JSON API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals
from sightline.webshop_env.server.app import create_app

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden"
RECORDINGS = [
    ("webshop/traces_human.jsonl", "human", 42),
    ("webshop/traces_synth.jsonl", "synthetic", 43),
    ("webshop-real/traces_synth.jsonl", "synthetic", 77),
]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recordings are not at {GOLDEN}")
@pytest.mark.parametrize(("path", "kind", "seed"), RECORDINGS, ids=[path for path, _, _ in RECORDINGS])
def test_every_recorded_step_is_repeated(path: str, kind: Any, seed: int) -> None:
    folder = (GOLDEN / path).parent
    catalogue = Catalogue.from_official(
        products=folder / "items_shuffle.json",
        attributes=folder / "items_ins_v2.json",
        human=folder / "items_human_ins.json",
    )
    lines = [json.loads(line) for line in (GOLDEN / path).read_text(encoding="utf-8").splitlines()]
    episodes = [line for line in lines if line["kind"] == "episode"]
    assert episodes
    app = create_app(Shop(catalogue, build_goals(catalogue, kind, seed)))

    async def replay() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1") as client:
            for episode in episodes:
                await replay_episode(client, episode)

    asyncio.run(replay())


async def replay_episode(client: httpx.AsyncClient, episode: dict[str, Any]) -> None:
    view = (await client.post("/sessions", json={"goal": episode["goal_index"]})).json()
    first, session = episode["reset"], episode["reset"]["url"].rpartition("/")[2]

    def shown(view: dict[str, Any]) -> tuple[Any, ...]:
        return view["observation"], view["available_actions"], view["url"].replace("/s0", f"/{session}", 1)

    assert shown(view) == (first["text"], first["available"], first["url"])
    assert f"Instruction: {view['instruction']}" == first["instruction"]
    address = f"/sessions/{view['session']}"
    for step in episode["steps"]:
        view = (await client.post(f"{address}/actions", json={"action": step["action"]})).json()
        assert shown(view) == (step["text"], step["available"], step["url"]), step["action"]
        assert view["outcome"]["reward"] == pytest.approx(step["reward"], abs=1e-9)
        assert (view["outcome"]["done"], view["truncated"]) == (step["done"], False)
    rich = (await client.get(address, params={"mode": "text_rich"})).json()["observation"]
    assert rich == episode["steps"][-1]["rich"]
    if view["reward_parts"] is not None:
        assert {name: value for name, value in view["reward_parts"].items() if value is not None} == pytest.approx(
            episode["final"]["info"], abs=1e-9
        )
    assert (await client.delete(address)).status_code == 204
