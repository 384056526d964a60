"""What tree search has to beat at equal steps in the environment: the best of many samples, and beam search.

Both begin with the actor's own way, use the same policy and rewards as the search, and stop at a number of steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sightline.agents.planning.environments.model import EnvironmentModel
from sightline.agents.planning.environments.planner import TextPlan, action_texts
from sightline.agents.planning.worlds.model import Plan

_MAX_LENGTH = 100
_MOST_IDLE_SAMPLES = 100  # samples in a row that took no new step: all is known, and none is likely to come


class _Beam(NamedTuple):
    """A way that a beam search keeps."""

    path: tuple[int, ...]
    state: Any
    value: float


def best_of_n(model: EnvironmentModel, root: Any, *, max_steps: int, seed: int = 0) -> TextPlan:
    """Sample the policy's way to the end again and again, and take the best.

    Args:
        model: the world, the policy and the rewards; actions are drawn from the prior of a search.
        root: a state of the world.
        max_steps: steps in the environment after which no further sample is begun.
        seed: seed of the samples.
    """
    rng = np.random.default_rng(seed)
    count = _Counter(model)
    best = own = model.judge([root])[0][1]
    samples, idle = 1, 0
    while count.steps < max_steps and idle < _MOST_IDLE_SAMPLES:
        before = count.steps
        plan = _sample(model, root, rng)
        samples += 1
        idle = 0 if count.steps > before else idle + 1
        if plan is not None and (best is None or plan.value > best.value):
            best = plan
    return count.result(root, best, own, samples)


def beam_search(model: EnvironmentModel, root: Any, *, width: int, max_steps: int) -> TextPlan:
    """Keep the best few states of each depth by the policy's own way on from them.

    Args:
        model: the world, the policy and the rewards.
        root: a state of the world.
        width: states kept.
        max_steps: steps in the environment after which no further state is looked at.
    """
    count = _Counter(model)
    best = own = model.judge([root])[0][1]
    beam, looked = [_Beam((), root, 0.0)], 0
    for _ in range(_MAX_LENGTH):
        onward: dict[Any, _Beam] = {}
        for here in beam:
            for action in range(len(model.actions(here.state))):
                if count.steps >= max_steps:
                    return count.result(root, best, own, looked)
                looked += 1
                step = model.take([(here.state, action)])[0]
                path = (*here.path, action)
                rest = Plan((), step.reward) if step.ended else model.judge([step.state])[0][1]
                if rest is None:
                    continue
                if best is None or rest.value > best.value:
                    best = Plan((*path, *rest.actions), rest.value)
                if not step.ended:
                    onward.setdefault(model.key(step.state), _Beam(path, step.state, rest.value))
        beam = sorted(onward.values(), key=lambda way: -way.value)[:width]
        if not beam:
            break
    return count.result(root, best, own, looked)


def _sample(model: EnvironmentModel, root: Any, rng: np.random.Generator) -> Plan | None:
    state, path = root, ()
    for _ in range(_MAX_LENGTH):
        choice = model.judge([state])[0][0]
        prior = np.array(model.prior(choice.probabilities))
        action = int(rng.choice(len(prior), p=prior / prior.sum()))
        step = model.take([(state, action)])[0]
        path = (*path, action)
        if step.ended:
            return Plan(path, step.reward)
        state = step.state
    return None


class _Counter:
    """What a rival has cost so far."""

    def __init__(self, model: EnvironmentModel) -> None:
        self._model = model
        self._steps, self._calls = model.world.steps, model.policy_calls

    @property
    def steps(self) -> int:
        """Steps in the environment."""
        return self._model.world.steps - self._steps

    def result(self, root: Any, best: Plan | None, own: Plan | None, simulations: int) -> TextPlan:
        """Return the plan found."""
        if best is None:
            raise ValueError("no way to an end was found; give more steps, or a policy that comes to an end")
        return TextPlan(
            actions=action_texts(self._model, root, best.actions),
            value=best.value,
            own_value=own.value if own is not None else None,
            is_own=best is own,
            is_oracle=self._model.rewards.is_oracle,
            simulations=simulations,
            exhausted=False,
            steps=self.steps,
            policy_calls=self._model.policy_calls - self._calls,
        )
