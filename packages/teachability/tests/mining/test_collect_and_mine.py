from __future__ import annotations

import pytest
from scipy import stats

from sightline.teachability import Task, ValueGraph, collect_episodes, mine_failures
from sightline.teachability.mining import collect_expert_episodes, episode_values, first_drop
from sightline.teachability.records import snapshot_id
from sightline.teachability.values import ValueStore


def tasks_of(worlds, world, count=1):
    return [Task(number, f"group {number}", worlds.Place(0)) for number in range(count)]


def test_sampled_episodes_succeed_as_often_as_recursion_says(worlds):
    world, policy = worlds.random_world(8)
    episodes = collect_episodes(world, policy, tasks_of(worlds, world), seed=0, rollouts=range(3000))
    wins = sum(episode.outcome == "success" for episode in episodes)
    assert stats.binomtest(wins, 3000, worlds.true_value(world, policy, worlds.Place(0))).pvalue > 1e-3


def test_an_episode_is_the_same_whatever_is_played_beside_it(worlds):
    world, policy = worlds.random_world(4)
    tasks = tasks_of(worlds, world, 5)
    alone = collect_episodes(world, policy, tasks[3:4], seed=1, rollouts=range(1, 2))
    together = collect_episodes(world, policy, tasks, seed=1, rollouts=range(3))
    assert alone[0] == together[3 * 3 + 1]


def test_replaying_the_actions_of_an_episode_meets_its_states(worlds):
    world, policy = worlds.random_world(4)
    for episode in collect_episodes(world, policy, tasks_of(worlds, world, 6), seed=1):
        state = worlds.Place(0)
        for step in episode.steps:
            assert world.decode(step.state_bytes) == state
            assert step.actions == world.actions(state)
            state = world.step(state, step.action).state


def test_an_environment_that_raises_costs_its_own_episode_and_is_no_failure(worlds):
    class Breaking(worlds.MapWorld):
        def step(self, state, action):
            if state.node == 1:
                raise OSError("gone")
            return super().step(state, action)

    world = Breaking({0: {"a": 1, "b": worlds.LOSE}, 1: {"c": worlds.WIN}}, 4)
    policy = worlds.TablePolicy({})
    episodes = collect_episodes(world, policy, tasks_of(worlds, world), seed=0, rollouts=range(20))
    outcomes = {episode.outcome for episode in episodes}
    assert outcomes == {"error", "failure"}
    assert all((e.error == "OSError at action 'c': gone") == (e.outcome == "error") for e in episodes)
    assert {s.outcome for s in mine_failures(episodes, "uniform")} == {"failure"}


def test_greedy_and_expert_episodes_take_the_best_and_the_teachers_actions(worlds):
    world = worlds.MapWorld({0: {"a": 1, "b": worlds.LOSE}, 1: {"c": worlds.WIN, "d": worlds.LOSE}}, 4)
    policy = worlds.TablePolicy({"node 0": {"a": 1.0}, "node 1": {"d": 1.0}})
    (greedy,) = collect_episodes(world, policy, tasks_of(worlds, world), seed=0, greedy=True)
    assert [step.action for step in greedy.steps] == ["a", "d"]
    teacher = worlds.TableTeacher(lambda state: "a" if state.node == 0 else "c")
    (expert,) = collect_expert_episodes(world, teacher, tasks_of(worlds, world))
    assert (expert.outcome, [step.action for step in expert.steps]) == ("success", ["a", "c"])


def lost_episode(worlds):
    """Success is likely until the second action throws it away."""
    world = worlds.MapWorld(
        {0: {"on": 1}, 1: {"good": 2, "bad": 3}, 2: {"end": worlds.WIN}, 3: {"x": 4}, 4: {"y": worlds.LOSE}}, 6
    )
    policy = worlds.TablePolicy({"node 1": {"good": 0.7}})
    episodes = collect_episodes(world, policy, tasks_of(worlds, world), seed=0, rollouts=range(40))
    return world, policy, [episode for episode in episodes if episode.outcome == "failure"]


def test_the_first_drop_is_the_action_that_threw_success_away(worlds):
    world, policy, failures = lost_episode(worlds)
    graph = ValueGraph(world, policy)
    assert failures
    for episode in failures:
        assert first_drop(episode_values(graph, episode)) == 1
    (snapshot,) = mine_failures(failures, "first_drop", values=graph)
    assert (snapshot.step, snapshot.taken, snapshot.kind) == (1, "bad", "kind 1")
    assert snapshot.id == snapshot_id(snapshot.state_bytes)


def test_an_episode_that_was_never_likely_to_succeed_has_no_drop(worlds):
    world = worlds.MapWorld({0: {"on": 1}, 1: {"end": worlds.LOSE}}, 4)
    episodes = collect_episodes(world, worlds.TablePolicy({}), tasks_of(worlds, world), seed=0)
    assert mine_failures(episodes, values=ValueGraph(world, worlds.TablePolicy({}))) == []


def test_values_from_a_store_are_not_paid_for_again(worlds, tmp_path):
    world, policy, failures = lost_episode(worlds)
    with ValueStore(tmp_path / "values.sqlite") as store:
        first = episode_values(ValueGraph(world, policy), failures[0], store=store)
    asked = policy.asked
    with ValueStore(tmp_path / "values.sqlite") as store:
        assert episode_values(ValueGraph(world, policy), failures[0], store=store) == first
        assert policy.asked == asked
        other = worlds.TablePolicy(policy.logits, fingerprint="another")
        episode_values(ValueGraph(world, other), failures[0], store=store)
        assert other.asked > 0  # another policy's bounds are another question
        assert store.forget("another") == 2 * len(failures[0].steps)


@pytest.mark.parametrize(("strategy", "steps"), [("before_end:0", {3}), ("before_end:2", {1}), ("before_end:9", {0})])
def test_before_end_counts_back_from_the_last_action(worlds, strategy, steps):
    _, _, failures = lost_episode(worlds)
    assert {snapshot.step for snapshot in mine_failures(failures, strategy)} == steps


def test_retention_takes_successes_and_uniform_takes_any_step_of_failures(worlds):
    world, policy = worlds.random_world(8)
    episodes = collect_episodes(world, policy, tasks_of(worlds, world, 30), seed=0, rollouts=range(8))
    assert {s.outcome for s in mine_failures(episodes, "retention")} == {"success"}
    uniform = mine_failures(episodes, "uniform", per_task=2)
    assert {s.outcome for s in uniform} == {"failure"}
    assert len({s.step for s in uniform}) > 2
    assert len({s.id for s in uniform}) == len(uniform)
    assert max(sum(s.task == task for s in uniform) for task in range(30)) <= 2
    assert uniform == mine_failures(episodes, "uniform", per_task=2)


@pytest.mark.parametrize("strategy", ["last_drop", "before_end", "before_end:x", "uniform:2"])
def test_an_unknown_strategy_names_those_there_are(strategy):
    with pytest.raises(ValueError, match="first_drop, before_end:K"):
        mine_failures([], strategy)


def test_first_drop_without_values_says_what_it_needs():
    with pytest.raises(ValueError, match="needs values"):
        mine_failures([])
