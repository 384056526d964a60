"""Small worlds whose values can be computed by recursion, for the tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from sightline.teachability.protocols import Transition
from sightline.teachability.records import Refusal, TeacherHint
from sightline.teachability.views import StateView

WIN, LOSE = "win", "lose"


class Place(NamedTuple):
    """Where an episode of a `MapWorld` stands."""

    node: int
    steps: int = 0


class MapWorld:
    """Deterministic rules given as a table: node -> action -> next node, or an ending."""

    def __init__(self, table: dict[int, dict[str, int | str]], horizon: int, rewards: dict[str, float] | None = None):
        self.table = table
        self.horizon = horizon
        self.rewards = {WIN: 1.0, LOSE: 0.0} | (rewards or {})

    def actions(self, state: Place) -> tuple[str, ...]:
        return tuple(self.table[state.node])

    def step(self, state: Place, action: str) -> Transition[Place]:
        target = self.table[state.node][action]
        if isinstance(target, str):
            return Transition(Place(state.node, state.steps + 1), self.rewards[target], True)
        return Transition(Place(target, state.steps + 1))

    def view(self, state: Place) -> StateView:
        return StateView("reach the goal", f"node {state.node}", self.actions(state), kind=f"kind {state.node % 2}")

    def timeless(self, state: Place) -> Place:
        return Place(state.node)

    def steps_left(self, state: Place) -> int:
        return max(self.horizon - state.steps, 0)

    def encode(self, state: Place) -> bytes:
        return json.dumps(list(state)).encode()

    def decode(self, snapshot: bytes) -> Place:
        return Place(*json.loads(snapshot))


class TablePolicy:
    """Softmax of logits found by the observation; a patch adds to the logit of every action that it names."""

    name = "table"

    def __init__(self, logits: dict[str, dict[str, float]], pull: float = 0.0, fingerprint: str = "table"):
        self.logits = logits
        self.pull = pull
        self.fingerprint = fingerprint
        self.asked = 0

    def distributions(self, views: Sequence[StateView], patches: Sequence[str | None] | None = None):
        self.asked += len(views)
        answers = []
        for view, patch in zip(views, patches or [None] * len(views), strict=True):
            row = self.logits.get(view.observation, {})
            scores = np.array([row.get(action, 0.0) for action in view.actions])
            if patch:
                scores = scores + np.array([self.pull * (f"[{action}]" in patch) for action in view.actions])
            weights = np.exp(scores - scores.max())
            answers.append(weights / weights.sum())
        return answers


class TableTeacher:
    """Advises and acts by a function of the state."""

    name = "table teacher"
    fingerprint = "table teacher"

    def __init__(self, choose: Callable[[Place], str | None]):
        self.choose = choose

    def advise(self, views: Sequence[StateView], states: Sequence[Place], *, nonce: int = 0):
        return [
            Refusal(reason="do not know")
            if (action := self.choose(state)) is None
            else TeacherHint(action=action, rationale=f"because {action} is best", teacher=self.name)
            for state in states
        ]

    def act(self, states: Sequence[Place]) -> list[str]:
        return [self.choose(state) or "a0" for state in states]


def random_world(seed: int, *, nodes: int = 12, actions: int = 3, horizon: int = 6) -> tuple[MapWorld, TablePolicy]:
    """A random map with about a fifth of all actions ending the episode, and a random policy."""
    generator = np.random.default_rng(seed)
    table: dict[int, dict[str, int | str]] = {}
    for node in range(nodes):
        table[node] = {}
        for action in range(int(generator.integers(1, actions + 1))):
            draw = generator.random()
            ending = WIN if draw < 0.1 else LOSE
            table[node][f"a{action}"] = ending if draw < 0.2 else int(generator.integers(nodes))
    logits = {
        f"node {node}": {action: float(generator.normal(scale=1.5)) for action in row} for node, row in table.items()
    }
    return MapWorld(table, horizon, {LOSE: 0.4}), TablePolicy(logits)


def true_value(world: MapWorld, policy: TablePolicy, state: Place, *, reward: bool = False, patch: str | None = None):
    """The chance of success (or expected reward) by recursion over nodes and steps left."""

    @cache
    def value(node: int, left: int) -> float:
        if left == 0:
            return 0.0
        return sum(p * after(node, action, left) for p, action in zip(chances(node), world.table[node], strict=True))

    @cache
    def chances(node: int) -> list[float]:
        return policy.distributions([world.view(Place(node))], [patch])[0].tolist()

    def after(node: int, action: str, left: int) -> float:
        target = world.table[node][action]
        if isinstance(target, str):
            worth = world.rewards[target]
            return worth if reward else float(worth >= 1)
        return value(target, left - 1)

    return value(state.node, world.steps_left(state))


def true_action_value(world: MapWorld, policy: TablePolicy, state: Place, action: str) -> float:
    """The chance of success after an action, by the recursion."""
    end = world.step(state, action)
    return float(end.success) if end.ended else true_value(world, policy, end.state)
