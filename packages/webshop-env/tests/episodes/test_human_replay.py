"""Episodes logged in the original's format by this shop's own states, read and played again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals
from sightline.webshop_env.episodes import RecordingError, best_action, state_at
from sightline.webshop_env.episodes.human_replay import replay_human
from sightline.webshop_env.episodes.human_trajectories import read_human_trajectory
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(120, seed=2)
    return Shop(catalogue, build_goals(catalogue, "human", 42))


def logged(shop: Shop, state: ShopState, parts: dict[str, Any] | None) -> dict[str, Any]:
    """A line as the original's web server logs it."""
    goal = shop.goal(state)
    fields = ("asin", "category", "query", "name", "product_category", "instruction_text", "price_upper", "weight")
    line: dict[str, Any] = {"goal": {name: getattr(goal, name) for name in fields}}
    line["goal"] |= {"attributes": list(goal.attributes), "goal_options": list(goal.goal_options)}
    words, options = state.query.split(), dict(state.options)
    where = f"{quote(repr(words), safe='')}/{state.number}"
    base = "http://127.0.0.1:3000"
    item = {"keywords": repr(words), "page": str(state.number), "asin": state.asin, "options": options}
    if state.kind is PageKind.INDEX:
        return line | {"page": "index", "url": f"{base}/s"}
    if state.kind is PageKind.RESULTS:
        shown = list(shop.hits(state)[10 * (state.number - 1) : 10 * state.number])
        content = {"keywords": words, "search_result_asins": shown, "page": state.number}
        return line | {"page": "search_results", "url": f"{base}/search_results/s/{where}", "content": content}
    chosen = quote(repr(options))
    if state.kind is PageKind.DONE:
        content = {"asin": state.asin, "options": options, "price": shop.goals.prices[str(state.asin)]}
        end = {"reward": state.reward, "reward_info": parts}
        return line | {"page": "done", "url": f"{base}/done/s/{state.asin}/{chosen}", "content": content} | end
    if state.kind in SUB_PAGES:
        address = f"{base}/item_sub_page/s/{state.asin}/{where}/{state.kind}/{chosen}"
        return line | {"page": "item_sub_page", "url": address, "content": item}
    return line | {"page": "item_page", "url": f"{base}/item_page/s/{state.asin}/{where}/{chosen}", "content": item}


def log(shop: Shop, goal: int, path: Path) -> tuple[Path, list[str], ShopState]:
    """One episode with a detour over every kind of page, and the file of it."""
    state = shop.start(goal)
    lines, actions, parts = [logged(shop, state, None)], [], None
    detour = ["search[lamp]", "click[next >]", "click[< prev]", "click[back to search]"]
    while not state.done:
        action = detour.pop(0) if detour else best_action(shop, state)
        assert action is not None
        if action == "click[buy now]" and "click[features]" not in actions:
            action = "click[features]"
        state, outcome = shop.act(state, action)
        assert outcome.valid
        parts = None if outcome.parts is None else outcome.parts.as_info()
        actions.append(action)
        lines.append(logged(shop, state, parts))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path, actions, state


@pytest.mark.parametrize("goal", range(12))
def test_an_episode_that_this_shop_logged_is_read_and_played_to_the_same_end(
    made_up: Shop, goal: int, tmp_path: Path
) -> None:
    path, actions, end = log(made_up, goal, tmp_path / "s.jsonl")
    trajectory = read_human_trajectory(path)
    assert trajectory.faults == ()
    assert list(trajectory.actions) == actions
    played = replay_human(made_up, trajectory)
    assert played.differences == ()
    assert (played.recording.goal, played.recording.total_reward) == (goal, end.reward)
    assert state_at(made_up, played.recording, len(actions))._replace(steps=0) == end._replace(steps=0)


def test_other_products_and_prices_are_told(made_up: Shop, tmp_path: Path) -> None:
    path, _, _ = log(made_up, 3, tmp_path / "s.jsonl")
    trajectory = read_human_trajectory(path)
    others = Shop(made_up.catalogue, build_goals(made_up.catalogue, "human", 42))
    prices = dict.fromkeys(made_up.catalogue.asins, 1.25)
    cheap = Shop(others.catalogue, replace(others.goals, prices=prices))
    assert [each.field for each in replay_human(cheap, trajectory).differences] == ["price"]
    fewer = Catalogue.from_products([product for product in made_up.catalogue if product.query != "desk lamp"][:40])
    with pytest.raises(RecordingError, match="this shop has no goal"):
        replay_human(Shop(fewer, build_goals(fewer, "human", 7)), trajectory)
