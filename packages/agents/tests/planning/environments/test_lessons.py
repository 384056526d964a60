from __future__ import annotations

from typing import Any

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.planning import (
    AgentPolicy,
    EnvironmentModel,
    EnvironmentWorld,
    OracleReward,
    Search,
    demonstrate,
    preferences,
    search_plan,
)


def test_every_preference_is_true_by_the_rewards_within_reach(shop: Any, hasty: Any) -> None:
    world = EnvironmentWorld(shop, webshop_grammar)
    model = EnvironmentModel(world, AgentPolicy(hasty), OracleReward())
    result = Search(simulations=300).run(model, [world.root()])
    found = preferences(result, min_gap=0.3)
    assert found
    for preference in found:
        assert preference.gap >= 0.3
        assert {preference.better, preference.worse} <= set(preference.situation.actions)
    buying = [p for p in found if p.worse == "click[buy now]" and "click[red]" in p.situation.actions]
    assert buying
    # Red first is worth more than buying at once; where red is chosen already, buying is the best there is.
    assert all(p.better != "click[back to search]" for p in buying)
    assert len(preferences(result, min_gap=0.01)) >= len(found)


def test_a_plan_is_shown_step_by_step(shop: Any, hasty: Any) -> None:
    world = EnvironmentWorld(shop, webshop_grammar)
    root = world.root()
    best = search_plan(EnvironmentModel(world, AgentPolicy(hasty), OracleReward()), root, simulations=200)
    shown = demonstrate(world, root, best.actions)
    assert tuple(action for _, action in shown) == best.actions
    assert shown[0][0] == root.situation
    assert [len(situation.events) for situation, _ in shown] == list(range(1, 2 * len(shown), 2))
    with pytest.raises(ValueError, match="not among"):
        demonstrate(world, root, ["click[nothing]"])


def test_only_trees_of_pages_teach(shop: Any, hasty: Any, random_tree: Any) -> None:
    import numpy as np

    other = Search(simulations=5).run(random_tree(np.random.default_rng(0), 3, 2), [0])
    with pytest.raises(TypeError, match="EnvironmentWorld"):
        preferences(other)
    world = EnvironmentWorld(shop, webshop_grammar)
    result = Search(simulations=5).run(EnvironmentModel(world, AgentPolicy(hasty), OracleReward()), [world.root()])
    with pytest.raises(ValueError, match="min_gap"):
        preferences(result, min_gap=0.0)
