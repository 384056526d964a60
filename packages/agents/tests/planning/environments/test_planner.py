from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.agents import Decision
from sightline.agents.grammar import Purchase, webshop_grammar
from sightline.agents.planning import (
    AgentPolicy,
    EnvironmentModel,
    EnvironmentWorld,
    ModelError,
    OracleReward,
    Search,
    WithheldReward,
    beam_search,
    best_of_n,
    plan,
    search_plan,
)


class Overlap:
    """Rewards by words: the share of chosen values and details that the request names; never sees the goal."""

    is_oracle = False
    bounds = (0.0, 1.1)

    def __init__(self) -> None:
        self.asked: list[Purchase] = []

    def judge(self, purchases: Any) -> Any:
        self.asked += purchases
        return np.array([0.4 * ("dimmable" in p.details) + 0.5 * ("red" in p.chosen) for p in purchases])


def make_model(env: Any, agent: Any, rewards: Any, **settings: Any) -> tuple[EnvironmentModel, Any]:
    world = EnvironmentWorld(env, webshop_grammar)
    return EnvironmentModel(world, AgentPolicy(agent), rewards, **settings), world.root()


def follow(env: Any, actions: Any) -> float:
    reward = 0.0
    for action in actions:
        _, reward, *_ = env.step(action)
    return reward


def test_the_oracle_s_plan_can_simply_be_followed_and_is_perfect(shop: Any, hasty: Any) -> None:
    best = plan(shop, hasty, webshop_grammar, simulations=200, rewards=OracleReward())
    assert best.is_oracle
    assert best.exhausted
    assert best.value == 1.0
    assert best.own_value == 0.0
    assert not best.is_own
    assert follow(shop, best.actions) == 1.0
    assert best.steps > len(best.actions)
    assert best.policy_calls > 0


def test_planning_leaves_the_episode_where_it_stood(shop: Any, hasty: Any) -> None:
    for action in ("search[lamp]", "click[b000000002]"):
        shop.step(action)
    before = shop.snapshot()
    best = plan(shop, hasty, webshop_grammar, simulations=100, rewards=OracleReward())
    assert shop.snapshot() == before
    assert best.actions[0] in ("click[back to search]", "click[< prev]")
    assert follow(shop, best.actions) == 1.0


def test_one_simulation_or_none_better_keeps_the_actor_s_own_way(shop: Any, hasty: Any) -> None:
    best = plan(shop, hasty, webshop_grammar, simulations=1, rewards=OracleReward())
    assert best.is_own
    assert best.actions[1:] == ("click[b000000003]", "click[buy now]")
    cautious = plan(shop, hasty, webshop_grammar, simulations=200, rewards=Overlap(), margin=2.0)
    assert cautious.is_own


def test_a_plan_never_earns_less_than_the_actor_s_own_way_by_the_oracle(shop_type: Any, hasty: Any) -> None:
    for asin in ("B000000001", "B000000002", "B000000003"):
        for simulations in (1, 5, 20, 60):
            env = shop_type({"asin": asin, "color": "red"})
            best = plan(env, hasty, webshop_grammar, simulations=simulations, rewards=OracleReward())
            assert best.value >= (best.own_value or 0)


def test_an_honest_plan_is_made_by_pages_alone_and_swapping_the_hidden_goal_changes_nothing(
    shop_type: Any, hasty: Any
) -> None:
    plans, seen = [], []
    for goal in ({"asin": "B000000001", "color": "red"}, {"asin": "B000000003", "color": "none"}):
        rewards = Overlap()
        plans.append(plan(shop_type(goal), hasty, webshop_grammar, simulations=150, rewards=rewards))
        seen.append(rewards.asked)
    assert plans[0] == plans[1]
    assert seen[0] == seen[1]
    assert not plans[0].is_oracle
    assert plans[0].value == pytest.approx(0.9)
    assert follow(shop_type(), plans[0].actions) == 1.0


def test_the_oracle_s_plan_does_change_with_the_goal(shop_type: Any, hasty: Any) -> None:
    """The canary sings: the same swap is noticed where rewards are read."""
    first, second = (
        plan(shop_type({"asin": asin, "color": "red"}), hasty, webshop_grammar, simulations=150, rewards=OracleReward())
        for asin in ("B000000001", "B000000002")
    )
    assert first.actions != second.actions


def test_both_executors_plan_alike_and_leaves_are_judged_together(shop_type: Any, hasty: Any) -> None:
    for rewards in (OracleReward(), Overlap()):
        results = []
        for executor in ("lockstep", "scalar"):
            env = shop_type() if rewards.is_oracle else WithheldReward(shop_type())
            model, root = make_model(env, hasty, rewards, max_actions=12)
            results.append(Search(simulations=40).run(model, [root], executor=executor))
        assert results[0].visits.tolist() == results[1].visits.tolist()
        assert results[0].plans == results[1].plans
    model, root = make_model(shop_type(), hasty, OracleReward(bounds=None))
    hasty.batches.clear()
    search_plan(model, root, simulations=64, leaves_per_step=8)
    assert max(hasty.batches) > 4


def test_pages_and_steps_are_asked_for_once(shop: Any, hasty: Any) -> None:
    model, root = make_model(shop, hasty, OracleReward())
    search_plan(model, root, simulations=50)
    steps, states = model.world.steps, model.policy_states
    again = search_plan(model, root, simulations=50)
    assert (model.world.steps, model.policy_states) == (steps, states)
    assert again.steps == 0


def test_a_prior_keeps_a_share_for_every_action(shop: Any, hasty: Any) -> None:
    model, _ = make_model(shop, hasty, OracleReward(), uniform_share=0.2)
    assert model.prior([1.0, 0.0, 0.0, 0.0]) == pytest.approx([0.85, 0.05, 0.05, 0.05])
    assert model.prior([0.0, 0.0]) == [0.5, 0.5]
    narrow, root = make_model(shop, hasty, OracleReward(), max_actions=2)
    assert len(narrow.actions(root)) == 2
    with pytest.raises(ValueError, match="uniform_share"):
        make_model(shop, hasty, OracleReward(), uniform_share=1.5)


def test_an_actor_that_fails_on_a_page_is_named(shop: Any) -> None:
    class Failing:
        name = "failing"

        def choose(self, situations: Any) -> list[Decision]:
            return [Decision("", (), 0, 0, error="ParseFailure: nonsense") for _ in situations]

    with pytest.raises(ModelError, match=r"failing failed on .*ParseFailure"):
        plan(shop, Failing(), webshop_grammar, simulations=5, rewards=OracleReward())


def test_an_episode_that_is_over_cannot_be_planned(shop: Any, hasty: Any) -> None:
    for action in ("search[lamp]", "click[b000000003]", "click[buy now]"):
        shop.step(action)
    with pytest.raises(ValueError, match="the game is over"):
        plan(shop, hasty, webshop_grammar, simulations=5, rewards=OracleReward())


def test_a_world_that_raises_passes_its_error_on_and_is_left_usable(shop: Any, hasty: Any) -> None:
    class Broken(type(shop)):
        broken = True

        def step(self, action: str) -> Any:
            if self.broken and action == "click[b000000002]":
                raise OSError("no connection")
            return super().step(action)

    env = Broken()
    before = env.snapshot()
    with pytest.raises(OSError, match="no connection"):
        plan(env, hasty, webshop_grammar, simulations=100, rewards=OracleReward())
    assert env.snapshot() == before
    env.broken = False
    assert plan(env, hasty, webshop_grammar, simulations=100, rewards=OracleReward()).value == 1.0


def test_the_oracle_refuses_to_read_pages() -> None:
    with pytest.raises(TypeError, match="environment's"):
        OracleReward().judge([])


def test_rivals_stop_at_their_steps_and_find_the_best_with_enough_of_them(shop_type: Any, hasty: Any) -> None:
    for rewards in (OracleReward(), Overlap()):

        def model(rewards: Any = rewards) -> tuple[EnvironmentModel, Any]:
            return make_model(shop_type() if rewards.is_oracle else WithheldReward(shop_type()), hasty, rewards)

        for search in (
            lambda steps: best_of_n(*model(), max_steps=steps, seed=1),
            lambda steps: beam_search(*model(), width=3, max_steps=steps),
        ):
            short, long = search(6), search(2000)
            assert short.steps < 40
            assert follow(shop_type(), long.actions) == 1.0
            assert long.value >= short.value
            assert long.is_oracle == rewards.is_oracle
        own = best_of_n(*model(), max_steps=0)
        assert own.is_own
        assert own.simulations == 1


def test_samples_are_drawn_by_their_seed(shop_type: Any, hasty: Any) -> None:
    plans = [best_of_n(*make_model(shop_type(), hasty, OracleReward()), max_steps=30, seed=seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1]
