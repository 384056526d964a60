from __future__ import annotations

import json

import numpy as np
import pytest

from sightline.teachability import RestoredDynamics, StateView, Transition, ValueGraph, check_dynamics
from sightline.teachability.errors import DynamicsError
from sightline.teachability.protocols import ask_policy
from sightline.teachability.restored import Restored


class WalkEnvironment:
    """Walk to 3 from 0; a Gymnasium-like environment whose snapshots hold its clock."""

    def __init__(self, limit: int = 6):
        self.limit, self.place, self.steps = limit, 0, 0

    @property
    def info(self):
        return {"actions": ("left", "right")}

    def reset(self, *, seed=None, options=None):
        self.place = self.steps = 0
        return str(self.place), dict(self.info)

    def step(self, action):
        self.steps += 1
        self.place += 1 if action == "right" else -1
        ended = abs(self.place) == 3
        return str(self.place), float(self.place == 3), ended, self.steps >= self.limit and not ended, dict(self.info)

    def snapshot(self):
        return json.dumps([self.place, self.steps]).encode()

    def restore(self, snapshot):
        self.place, self.steps = json.loads(snapshot)
        return str(self.place)


def read(observation, info):
    return StateView("walk to 3", observation, info["actions"])


def without_clock(snapshot):
    return json.dumps([json.loads(snapshot)[0], 0]).encode()


class Even:
    name = fingerprint = "even"

    def distributions(self, views, patches=None):
        return [np.full(len(view.actions), 1 / len(view.actions)) for view in views]


def walk_value(place, left):
    if abs(place) == 3 or left == 0:
        return float(place == 3)
    return (walk_value(place - 1, left - 1) + walk_value(place + 1, left - 1)) / 2


@pytest.mark.parametrize("timeless", [None, without_clock])
def test_values_through_snapshots_are_those_of_the_walk(timeless):
    dynamics = RestoredDynamics(WalkEnvironment(), max_steps=6, read=read, timeless=timeless)
    check_dynamics(dynamics, dynamics.start())
    graph = ValueGraph(dynamics, Even(), tolerance=0.0, max_prompts=300)
    assert graph.value(dynamics.start()).estimate == pytest.approx(walk_value(0, 6))


def test_a_clockless_key_merges_what_is_reached_at_different_times():
    sizes = []
    for timeless in (None, without_clock):
        dynamics = RestoredDynamics(WalkEnvironment(), max_steps=6, read=read, timeless=timeless)
        graph = ValueGraph(dynamics, Even(), tolerance=0.0, max_prompts=300)
        graph.value(dynamics.start())
        sizes.append(len(graph))
    assert sizes[1] == 5 < sizes[0]


def test_an_environment_that_truncates_earlier_than_told_is_an_error():
    dynamics = RestoredDynamics(WalkEnvironment(limit=2), max_steps=6, read=read)
    with pytest.raises(DynamicsError, match="truncated an episode after 2 of max_steps=6"):
        ValueGraph(dynamics, Even(), tolerance=0.0).value(dynamics.start())


def test_states_survive_bytes():
    dynamics = RestoredDynamics(WalkEnvironment(), max_steps=6, read=read)
    state = Restored(b"any \x00 bytes", 70000)
    assert dynamics.decode(dynamics.encode(state)) == state


def test_the_checker_finds_each_broken_rule(worlds):
    class Forgetful(worlds.MapWorld):
        def decode(self, snapshot):
            return worlds.Place(0, 9)

    class Random(worlds.MapWorld):
        count = 0

        def step(self, state, action):
            Random.count += 1
            return Transition(worlds.Place(Random.count % 2, state.steps + 1))

    class Clocked(worlds.MapWorld):
        def view(self, state):
            return StateView("", f"{state}", self.actions(state))

    class Stopped(worlds.MapWorld):
        def steps_left(self, state):
            return 4

    table = {0: {"a": 1}, 1: {"a": 0}}
    check_dynamics(worlds.MapWorld(table, 5), worlds.Place(0, 1))
    for kind, message in [
        (Forgetful, "decode"),
        (Random, "two equal steps"),
        (Clocked, "another view"),
        (Stopped, "should leave 3 steps"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_dynamics(kind(table, 5), worlds.Place(0, 1))


def test_a_policy_with_another_number_of_answers_is_refused():
    class Short(Even):
        def distributions(self, views, patches=None):
            return super().distributions(views[1:])

    with pytest.raises(ValueError, match="gave 1 answers to 2 views"):
        ask_policy(Short(), [StateView("", "", ("a",))] * 2)


def test_rewards_outside_zero_and_one_are_refused(worlds):
    world = worlds.MapWorld({0: {"a": worlds.WIN}}, 2, {worlds.WIN: 10.0})
    with pytest.raises(DynamicsError, match="rewards lie in"):
        ValueGraph(world, Even()).value(worlds.Place(0))
