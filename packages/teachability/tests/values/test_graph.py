from __future__ import annotations

import numpy as np
import pytest

from sightline.teachability.errors import DynamicsError, PolicyError
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.horizon import arrivals


@pytest.mark.parametrize("block", range(4))
def test_the_bounds_of_two_hundred_random_worlds_hold_what_recursion_computes(worlds, block):
    for seed in range(50 * block, 50 * block + 50):
        world, policy = worlds.random_world(seed)
        root = worlds.Place(0, seed % 3)
        truth, reward = (worlds.true_value(world, policy, root, reward=one) for one in (False, True))
        for budget in (0, 1, 3, 6):
            graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=budget)
            bound = graph.value(root)
            assert bound.low - 1e-12 <= truth <= bound.high + 1e-12
            worth = graph.bound(root, reward=True)
            assert worth.low - 1e-12 <= reward <= worth.high + 1e-12
            assert len(graph) <= budget


def test_a_graph_without_frontier_is_exact(worlds):
    for seed in range(40):
        world, policy = worlds.random_world(seed)
        root = worlds.Place(0)
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=1000)
        bound = graph.value(root)
        assert bound.gap <= 1e-12
        assert bound.estimate == pytest.approx(worlds.true_value(world, policy, root), abs=1e-12)
        for action, found in graph.action_values(root).items():
            assert found.estimate == pytest.approx(worlds.true_action_value(world, policy, root, action), abs=1e-12)


def test_the_gap_never_grows_as_the_graph_does(worlds):
    for seed in range(40):
        world, policy = worlds.random_world(seed, nodes=30, horizon=9)
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=0)
        root, last = worlds.Place(0), 1.0
        for _ in range(12):
            graph.refine([(root, None)], max_prompts=2)
            gap = graph.bound(root).gap
            assert gap <= last + 1e-12
            last = gap


def test_the_gap_is_the_chance_of_arriving_at_the_frontier(worlds):
    for seed in range(20):
        world, policy = worlds.random_world(seed, nodes=30, horizon=7)
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=5)
        root = worlds.Place(0)
        gap = graph.value(root).gap
        reach = graph.reach([(root, 7)])
        assert arrivals(reach.chain, [(0, 7, 1.0)], 7).sum() == pytest.approx(gap, abs=1e-12)


def test_a_chain_a_ring_and_a_coin_have_the_values_computed_by_hand(worlds):
    chain = worlds.MapWorld({0: {"on": 1, "off": worlds.LOSE}, 1: {"on": 2}, 2: {"on": worlds.WIN}}, horizon=3)
    even = worlds.TablePolicy({})
    assert ValueGraph(chain, even).value(worlds.Place(0)).estimate == pytest.approx(0.5)
    assert ValueGraph(chain, even).value(worlds.Place(0, 1)).estimate == 0.0  # one step too few
    ring = worlds.MapWorld({0: {"on": 1}, 1: {"back": 0, "out": worlds.WIN}}, horizon=6)
    # The way out is met after steps 2, 4 and 6, each time taken with probability 1/2.
    assert ValueGraph(ring, even, tolerance=0).value(worlds.Place(0)).estimate == pytest.approx(1 / 2 + 1 / 4 + 1 / 8)
    coin = worlds.MapWorld({0: {"heads": worlds.WIN, "tails": worlds.LOSE}}, horizon=1)
    assert ValueGraph(coin, even).value(worlds.Place(0)).estimate == 0.5
    assert ValueGraph(coin, even).bound(worlds.Place(0)).gap == 1.0


def test_the_advantage_of_an_action_is_one_minus_its_probability_times_its_lead_over_the_others(worlds):
    for seed in range(30):
        world, policy = worlds.random_world(seed)
        root = worlds.Place(0)
        if len(world.actions(root)) < 2:
            continue
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=1000)
        value, q = graph.value(root).estimate, [b.estimate for b in graph.action_values(root).values()]
        pi = policy.distributions([world.view(root)])[0]
        others = float(pi[1:] @ np.array(q[1:])) / (1 - pi[0])
        assert q[0] - value == pytest.approx((1 - pi[0]) * (q[0] - others), abs=1e-12)


def test_states_that_were_asked_about_cost_nothing_again(worlds):
    world, policy = worlds.random_world(3)
    graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=1000)
    graph.value(worlds.Place(0))
    asked = policy.asked
    graph.value(worlds.Place(0, 1))
    graph.action_values(worlds.Place(0))
    assert policy.asked == asked == len(graph) == graph.ledger.prompts


def test_a_page_without_actions_is_a_dead_end(worlds):
    world = worlds.MapWorld({0: {"on": 1, "out": worlds.WIN}, 1: {}}, horizon=4)
    bound = ValueGraph(world, worlds.TablePolicy({})).value(worlds.Place(0))
    assert (bound.low, bound.high) == (0.5, 0.5)


@pytest.mark.parametrize(
    "answer", [[0.5, 0.4], [0.5, 0.5, 0.0], [np.nan, 1.0], [1.5, -0.5]], ids=["sum", "length", "nan", "negative"]
)
def test_a_policy_that_gives_no_distribution_is_refused(worlds, answer):
    class Broken(worlds.TablePolicy):
        def distributions(self, views, patches=None):
            return [np.array(answer) for _ in views]

    world = worlds.MapWorld({0: {"a": 0, "b": worlds.WIN}}, horizon=2)
    with pytest.raises(PolicyError, match="node 0"):
        ValueGraph(world, Broken({})).value(worlds.Place(0))


def test_what_an_environment_raises_has_one_name(worlds):
    class Breaking(worlds.MapWorld):
        def step(self, state, action):
            raise OSError("the shop is on fire")

    world = Breaking({0: {"a": 0}}, horizon=2)
    with pytest.raises(DynamicsError, match="OSError at action 'a': the shop is on fire"):
        ValueGraph(world, worlds.TablePolicy({})).value(worlds.Place(0))


@pytest.mark.parametrize("wrong", [{"tolerance": -0.1}, {"max_prompts": -1}])
def test_a_negative_tolerance_or_budget_is_refused(worlds, wrong):
    with pytest.raises(ValueError, match="must not be negative"):
        ValueGraph(worlds.MapWorld({0: {"a": worlds.WIN}}, 1), worlds.TablePolicy({}), **wrong)


def test_actions_have_no_values_where_no_step_is_left(worlds):
    world = worlds.MapWorld({0: {"a": worlds.WIN, "b": 1}, 1: {"b": 0}}, horizon=2)
    graph = ValueGraph(world, worlds.TablePolicy({}))
    assert graph.action_values(worlds.Place(0, 1))["a"].estimate == 1.0
    assert graph.refine([(worlds.Place(1, 2), "b")]) == 0
    with pytest.raises(ValueError, match="no step is left"):
        graph.action_values(worlds.Place(0, 2))
