from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sightline.teachability.records import PairCounts
from sightline.teachability.statistics import beta_quantile
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.sampling import (
    Noise,
    Outcomes,
    count_pairs,
    decide_difference,
    narrow_value,
    pair_difference,
    sample_arm,
)


def test_picks_have_the_policys_probabilities():
    probabilities = np.array([0.1, 0.2, 0.3, 0.4])
    noise = Noise(0, "here")
    counts = np.bincount([noise.pick(r, 0, "abcd", probabilities) for r in range(100_000)], minlength=4)
    assert stats.chisquare(counts, probabilities * 100_000).pvalue > 1e-3


def test_uniform_noise_is_uniform_and_the_same_in_every_process():
    draws = [Noise(1, "x").uniform(r, 2, "click[a]") for r in range(20_000)]
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert Noise(1, "x").uniform(0, 0, "a") == pytest.approx(0.24793484734674293, abs=1e-15)


def test_identical_arms_differ_by_exactly_nothing(worlds):
    world, policy = worlds.random_world(5)
    root = worlds.Place(0)
    graph, twin = ValueGraph(world, policy), ValueGraph(world, policy)
    arms = [sample_arm(one, root, None, range(200), Noise(0, "s")) for one in (graph, twin)]
    counts = count_pairs(*arms)
    assert counts.first_only == counts.second_only == 0
    assert pair_difference(counts).estimate == 0.0


def test_arms_without_common_noise_have_no_difference():
    with pytest.raises(ValueError, match="share noise"):
        count_pairs(Outcomes(Noise(0, "a"), (True,)), Outcomes(Noise(1, "a"), (True,)))


def test_sampled_success_agrees_with_recursion(worlds):
    world, policy = worlds.random_world(8)
    root = worlds.Place(0)
    wins = sum(sample_arm(ValueGraph(world, policy), root, None, range(4000), Noise(3, "s")).success)
    assert stats.binomtest(wins, 4000, worlds.true_value(world, policy, root)).pvalue > 1e-3


def test_a_planted_difference_is_estimated_without_bias(worlds):
    world = worlds.MapWorld(
        {0: {"good": 1, "bad": 2}, 1: {"x": worlds.WIN, "y": worlds.LOSE}, 2: {"z": worlds.LOSE}}, 3
    )
    policy = worlds.TablePolicy({"node 0": {"good": 0.5}})
    truth = worlds.true_action_value(world, policy, worlds.Place(0), "good") - worlds.true_value(
        world, policy, worlds.Place(0)
    )
    found = []
    for replication in range(500):
        graph, noise = ValueGraph(world, policy), Noise(replication, "s")
        counts = count_pairs(*(sample_arm(graph, worlds.Place(0), a, range(16), noise) for a in ("good", None)))
        found.append(pair_difference(counts).estimate)
    assert abs(np.mean(found) - truth) <= 3 * np.std(found) / np.sqrt(500)


@pytest.mark.parametrize(("p10", "p01", "pairs"), [(0.25, 0.1, 64), (0.15, 0.15, 64), (0.3, 0.05, 32)])
def test_paired_intervals_cover_what_they_promise(p10, p01, pairs):
    generator = np.random.default_rng(0)
    covered, cache = 0, {}
    for _ in range(2000):
        drawn = tuple(generator.multinomial(pairs, [p10, p01, 1 - p10 - p01]).tolist())
        if drawn not in cache:
            cache[drawn] = pair_difference(
                PairCounts(both=0, first_only=drawn[0], second_only=drawn[1], neither=drawn[2])
            )
        covered += cache[drawn].low <= p10 - p01 <= cache[drawn].high
    assert 0.93 <= covered / 2000 <= 0.97


def test_rollouts_from_the_frontier_narrow_a_certified_interval_around_the_truth(worlds):
    misses = 0
    for seed in range(60):
        world, policy = worlds.random_world(seed, nodes=30, horizon=8)
        root = worlds.Place(0)
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=3)
        certain = graph.value(root)
        found = narrow_value(graph, root, None, Noise(seed, "s"), rollouts=64)
        assert certain.low - 1e-12 <= found.low <= found.high <= certain.high + 1e-12
        misses += not found.low <= worlds.true_value(world, policy, root) <= found.high
    assert misses <= 8  # 60 intervals of 95 %: 9 or more misses have a chance of .004


def test_without_a_graph_narrowing_is_plain_monte_carlo(worlds):
    world, policy = worlds.random_world(2)
    graph = ValueGraph(world, policy, max_prompts=0)
    found = narrow_value(graph, worlds.Place(0), None, Noise(0, "s"), rollouts=40)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 1 + found.successes, 41 - found.successes), abs=1e-9)
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 1 + found.successes, 41 - found.successes), abs=1e-9)
    assert found.estimate == pytest.approx((1 + found.successes) / 42, abs=1e-12)


def test_an_action_that_ends_the_episode_has_its_own_worth_while_a_step_is_left(worlds):
    world = worlds.MapWorld({0: {"good": worlds.WIN, "bad": worlds.LOSE, "on": 0}}, horizon=1)
    graph, noise = ValueGraph(world, worlds.TablePolicy({})), Noise(0, "s")
    for action, worth in (("good", 1.0), ("bad", 0.0)):
        found = narrow_value(graph, worlds.Place(0), action, noise, rollouts=8)
        assert (found.low, found.high, found.estimate) == (worth, worth, worth)
    assert narrow_value(graph, worlds.Place(0, 1), "good", noise, rollouts=8).high == 0.0


def test_a_forced_first_action_takes_a_step(worlds):
    table = {0: {"on": 1, "out": worlds.LOSE}, 1: {"on": worlds.WIN}}
    for horizon, succeeds in ((1, False), (2, True)):
        graph = ValueGraph(worlds.MapWorld(table, horizon), worlds.TablePolicy({}))
        assert sample_arm(graph, worlds.Place(0), "on", range(3), Noise(0, "s")).success == (succeeds,) * 3


def test_rollouts_from_the_frontier_end_as_whole_ones_that_come_by_there(worlds):
    world = worlds.MapWorld({0: {"on": 1}, 1: {"x": worlds.WIN, "y": worlds.LOSE, "z": 1}}, horizon=6)
    graph, noise = ValueGraph(world, worlds.TablePolicy({}), tolerance=0.0, max_prompts=1), Noise(3, "s")
    graph.value(worlds.Place(0))
    whole = sample_arm(ValueGraph(world, worlds.TablePolicy({})), worlds.Place(0), None, range(60), noise)
    assert narrow_value(graph, worlds.Place(0), None, noise, rollouts=60).successes == sum(whole.success)


def test_sampling_stops_when_the_question_is_decided(worlds):
    world = worlds.MapWorld({0: {"good": worlds.WIN, "bad": worlds.LOSE}}, horizon=1)
    policy = worlds.TablePolicy({"node 0": {"bad": 4.0}})
    graph = ValueGraph(world, policy)
    clear, _ = decide_difference(graph, worlds.Place(0), "good", Noise(0, "s"), decided=lambda bound: bound.low > 0.05)
    full, _ = decide_difference(graph, worlds.Place(0), "good", Noise(0, "s"), decided=lambda _: False)
    assert clear.pairs < 64
    assert full.pairs == 64


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 9), (40, 2), (65, 1)])
def test_beta_quantiles_are_scipys(first, second):
    for share in (0.005, 0.025, 0.5, 0.975):
        assert beta_quantile(share, first, second) == pytest.approx(stats.beta.ppf(share, first, second), abs=1e-9)
