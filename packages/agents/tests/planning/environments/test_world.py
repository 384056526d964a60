from __future__ import annotations

from typing import Any

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.planning import EnvironmentWorld, WithheldReward


def world(env: Any) -> EnvironmentWorld:
    return EnvironmentWorld(env, webshop_grammar)


def walk(world: EnvironmentWorld, state: Any, *actions: str) -> Any:
    step = None
    for action in actions:
        step = world.step(state, action)
        state = step.state
    return step


def test_states_are_values_that_can_be_left_and_come_back_to(shop: Any) -> None:
    here = world(shop)
    root = here.root()
    results = here.step(root, here.actions(root)[0]).state
    first = walk(here, results, "click[b000000001]", "click[red]", "click[buy now]")
    second = walk(here, results, "click[b000000001]", "click[buy now]")
    third = walk(here, results, "click[b000000003]", "click[buy now]")
    assert (first.reward, second.reward, third.reward) == (1.0, 0.5, 0.0)
    assert first.ended
    assert here.actions(first.state) == ()
    again = walk(here, results, "click[b000000001]", "click[red]", "click[buy now]")
    assert here.key(again.state) == here.key(first.state)
    assert again.state == first.state
    assert here.steps == 1 + 3 + 2 + 2 + 3


def test_an_environment_is_restored_only_where_it_stands_elsewhere(shop: Any) -> None:
    here = world(shop)
    walk(here, here.root(), "search[lamp]", "click[b000000001]", "click[red]")
    assert shop.restored == 1  # that of the root, which asks for its page


def test_situations_tell_the_way_there(shop: Any) -> None:
    here = world(shop)
    step = walk(here, here.root(), "search[lamp]", "click[b000000002]")
    kinds = [event.kind for event in step.state.situation.events]
    assert kinds == ["OBS", "ACT", "OBS", "ACT", "OBS"]
    assert step.state.situation.events[3].text == "click[b000000002]"
    assert "Desk lamp, classic" in step.state.situation.observation


def test_a_purchase_holds_what_the_pages_say_and_reading_them_counts_once(shop: Any) -> None:
    here = world(shop)
    item = walk(here, here.root(), "search[lamp]", "click[b000000001]", "click[red]").state
    before = here.steps
    purchase = here.purchase(item, "click[buy now]")
    assert purchase is not None
    assert purchase.title == "Red desk lamp"
    assert purchase.chosen == {"red"}
    assert purchase.offered == (("red", "blue"),)
    assert purchase.prices == (20.0, 20.0)
    assert "It is dimmable and bright." in purchase.details
    assert shop.instruction not in purchase.details
    assert here.steps == before + 1
    assert here.purchase(walk(here, item, "click[blue]").state, "click[buy now]").chosen == {"blue"}  # ty: ignore
    assert here.steps == before + 2
    assert here.purchase(item, "click[< prev]") is None


def test_the_step_limit_ends_an_episode(shop_type: Any) -> None:
    here = world(shop_type(step_limit=2))
    step = walk(here, here.root(), "search[lamp]", "click[b000000001]")
    assert step.ended
    assert step.reward == 0
    assert here.actions(step.state) == ()


def test_withheld_rewards_cannot_be_seen_anywhere(shop: Any) -> None:
    hidden = WithheldReward(shop)
    _, info = hidden.reset()
    assert set(info) == {"instruction_text", "available_actions"}
    for action in ("search[lamp]", "click[b000000001]", "click[red]"):
        observation, reward, *_, info = hidden.step(action)
        assert observation
        assert reward == 0
    snapshot = hidden.snapshot()
    observation, reward, terminated, _, info = hidden.step("click[buy now]")
    assert (observation, reward, terminated) == ("", 0.0, True)
    assert set(info) == set(hidden.info) == {"instruction_text", "available_actions"}
    assert hidden.restore(hidden.snapshot()) == ""
    assert "Red desk lamp" in hidden.restore(snapshot)
    for name in ("goal", "env", "_env", "unwrapped", "state"):
        with pytest.raises(AttributeError):
            getattr(hidden, name)
