from __future__ import annotations

import numpy as np
import pytest

from sightline.teachability import ValueGraph
from sightline.teachability.labels import leverage
from sightline.teachability.labels.leverage import Question, advantage, first_order, measure_values, play_out
from sightline.teachability.values import Noise


def worlds_with_a_choice(worlds):
    """Worlds too large for a graph of a few states: seed, world, policy, first state and its actions, two or more."""
    for seed in range(60):
        world, policy = worlds.random_world(seed, nodes=40, horizon=9)
        root = worlds.Place(0)
        if len(actions := world.actions(root)) >= 2:
            yield seed, world, policy, root, actions


def test_leverage_is_the_advantage_that_recursion_finds(worlds):
    checked = 0
    for seed in range(60):
        world, policy = worlds.random_world(seed)
        root = worlds.Place(0)
        actions = world.actions(root)
        if len(actions) < 2:
            continue
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=500)
        found = measure_values(graph, root, Question(actions[0], actions[1], 0.05), Noise(0, "s"))
        truth = worlds.true_value(world, policy, root)
        for lead, action in ((found.L_local, actions[0]), (found.L_taken, actions[1])):
            expected = worlds.true_action_value(world, policy, root, action) - truth
            assert lead.estimate == pytest.approx(expected, abs=1e-12)
            assert lead.gap <= 1e-12
        assert found.pairs is None
        checked += 1
    assert checked > 30


def test_the_tight_interval_lies_inside_the_difference_and_holds_the_truth(worlds):
    for seed in range(40):
        world, policy = worlds.random_world(seed, nodes=30, horizon=8)
        root = worlds.Place(0)
        actions = world.actions(root)
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=4)
        graph.refine([(root, None)])
        q, value = graph.action_bounds(root), graph.bound(root)
        tight = advantage(actions, graph.node(root).probabilities, q, actions[0])
        loose = q[actions[0]].minus(value)
        assert loose.low - 1e-12 <= tight.low
        assert tight.high <= loose.high + 1e-12
        truth = worlds.true_action_value(world, policy, root, actions[0]) - worlds.true_value(world, policy, root)
        assert tight.low - 1e-12 <= truth <= tight.high + 1e-12


def test_what_the_graph_leaves_open_is_sampled_until_it_is_decided(worlds):
    used, misses, count = 0, 0, 0
    for seed, world, policy, root, actions in worlds_with_a_choice(worlds):
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=4)
        found = measure_values(graph, root, Question(actions[0], actions[1], 0.05), Noise(seed, "s"))
        used += found.pairs is not None
        count += 1
        truth = worlds.true_action_value(world, policy, root, actions[0]) - worlds.true_value(world, policy, root)
        misses += not found.L_local.low - 1e-9 <= truth <= found.L_local.high + 1e-9
        assert (found.L_local.method == "mixed") == (found.pairs is not None)
    assert used > count / 4
    assert misses <= 0.15 * count


def test_a_threshold_outside_of_the_certain_interval_or_at_its_low_end_needs_no_episodes(worlds):
    checked = 0
    for _, world, policy, root, actions in worlds_with_a_choice(worlds):

        def measure(threshold, world=world, policy=policy, root=root, actions=actions):
            graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=4)
            return measure_values(graph, root, Question(actions[0], actions[1], threshold), Noise(0, "s"))

        certain = measure(-2.0)
        assert certain.pairs is measure(2.0).pairs is measure(certain.L_local.low).pairs is None
        if certain.L_local.gap > 0.01:
            checked += 1
            assert measure(certain.L_local.estimate).pairs is not None
            assert measure(certain.L_local.high).pairs is not None
    assert checked > 10


def test_actions_are_sampled_in_one_order_whatever_their_names_hash_to(worlds, monkeypatch):
    narrow, asked = leverage.narrow_value, []
    monkeypatch.setattr(
        leverage,
        "narrow_value",
        lambda graph, state, action, *rest, **more: asked.append(action) or narrow(graph, state, action, *rest, **more),
    )
    sampled = 0
    for seed, world, policy, root, actions in worlds_with_a_choice(worlds):
        for teacher, taken in ((actions[0], actions[1]), (actions[1], actions[0])):
            asked.clear()
            graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=4)
            measure_values(graph, root, Question(teacher, taken, 0.05), Noise(seed, "s"))
            assert asked in ([], [None, teacher, taken])
            sampled += bool(asked)
    assert sampled > 10


def test_an_audit_plays_all_pairs_and_leaves_a_certain_interval_alone(worlds):
    world, policy = worlds.random_world(1)
    root = worlds.Place(0)
    actions = world.actions(root)
    graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=500)
    found = measure_values(graph, root, Question(actions[0], actions[0], 0.05, audit=True), Noise(0, "s"))
    assert found.pairs is not None
    assert found.pairs.pairs == 64
    assert found.L_local.method == "graph"


def test_first_order_scores_are_the_derivatives_of_the_value(worlds):
    for seed in (2, 3, 5, 8):
        world, policy = worlds.random_world(seed)
        # The value of a policy that is changed in the first state only, by finite differences.
        q = np.array(
            [worlds.true_action_value(world, policy, worlds.Place(0), a) for a in world.actions(worlds.Place(0))]
        )
        logits = np.array([policy.logits["node 0"][a] for a in world.actions(worlds.Place(0))])

        def value(at, q=q):
            weights = np.exp(at - at.max())
            return float(weights / weights.sum() @ q)

        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=500)
        bounds = list(graph.action_values(worlds.Place(0)).values())
        pi = graph.node(worlds.Place(0)).probabilities
        step = 1e-6
        for teacher in range(len(q)):
            found = first_order(pi, bounds, teacher)
            one_hot = np.eye(len(q))[teacher]
            logit = (value(logits + step * one_hot) - value(logits - step * one_hot)) / (2 * step)
            supervised = (value(logits + step * (one_hot - pi)) - value(logits - step * (one_hot - pi))) / (2 * step)
            assert found.logit == pytest.approx(logit, abs=1e-7)
            assert found.supervised == pytest.approx(supervised, abs=1e-7)


def test_a_supervised_step_of_a_tabular_student_changes_its_value_as_the_score_says(worlds):
    world, policy = worlds.random_world(8)
    root = worlds.Place(0)
    graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=500)
    q, pi = list(graph.action_values(root).values()), graph.node(root).probabilities
    exact = np.array([bound.estimate for bound in q])
    eta = 0.01
    for teacher in range(len(pi)):
        logits = np.log(pi) + eta * (np.eye(len(pi))[teacher] - pi)
        after = np.exp(logits) / np.exp(logits).sum()
        change = float((after - pi) @ exact)
        score = first_order(pi, q, teacher).supervised
        assert change == pytest.approx(eta * score, rel=0.01, abs=1e-12)


def test_the_teacher_in_control_is_played_to_the_end(worlds):
    world = worlds.MapWorld({0: {"on": 1, "off": worlds.LOSE}, 1: {"on": 2}, 2: {"on": worlds.WIN}}, 3)
    teacher = worlds.TableTeacher(lambda state: "on")
    found = play_out(world, teacher, [worlds.Place(0), worlds.Place(0, 1), worlds.Place(0, 3)])
    assert [bound.estimate for bound in found] == [1.0, 0.0, 0.0]
