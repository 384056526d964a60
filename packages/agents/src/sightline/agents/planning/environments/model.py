"""A world of pages as a `Model`: a policy proposes, and its own way on from a page to the end says what it is worth."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.environments.rewards import Rewards
from sightline.agents.planning.environments.world import TextWorld, Transition
from sightline.agents.planning.worlds.model import Expansion, ModelError, Plan
from sightline.agents.planning.worlds.serial import Judgement, Serial
from sightline.agents.protocols import Agent

_MAX_ROLLOUT = 100
Value = TypeVar("Value")


class Choice(NamedTuple):
    """What a policy would do in one state."""

    probabilities: Sequence[float]
    """Probabilities of the state's actions, in their order."""
    index: int
    """The action it takes."""


class Policy(Protocol):
    """Proposes actions and follows its own proposals; a function of the states."""

    def decide(self, world: Any, states: Sequence[Any]) -> list[Choice]:
        """Return one choice for each state, in none of which the episode is over."""
        ...


class AgentPolicy:
    """An agent as a policy, in an `EnvironmentWorld`.

    Args:
        agent: any.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def decide(self, world: Any, states: Sequence[Any]) -> list[Choice]:
        """Return the agent's decisions.

        Raises:
            ModelError: the agent failed on a page.
        """
        del world
        choices = []
        for state, decision in zip(states, self._agent.choose([state.situation for state in states]), strict=True):
            if decision.error is not None:
                raise ModelError(
                    f"{self._agent.name} failed on {state.situation.observation[:200]!r}: {decision.error}"
                )
            choices.append(Choice(decision.probabilities, state.situation.actions.index(decision.action)))
        return choices


class EnvironmentModel:
    """See the module.

    Args:
        world: a deterministic world of pages.
        policy: its probabilities, mixed with equal ones, are the prior; its way to the end is the value.
        rewards: what a purchase is worth.
        max_actions: most actions of a page; further ones are left out.
        uniform_share: share of equal probabilities in the prior, so that the search looks beyond a sure policy.
        cache_size: pages and steps that are remembered.
    """

    players: Literal[1, 2] = 1
    deterministic = True

    def __init__(
        self,
        world: TextWorld,
        policy: Policy,
        rewards: Rewards,
        *,
        max_actions: int = 64,
        uniform_share: float = 0.25,
        cache_size: int = 100_000,
    ) -> None:
        if not 0 <= uniform_share <= 1:
            raise ValueError(f"uniform_share must lie between 0 and 1, not {uniform_share!r}")
        self.world, self.policy, self.rewards = world, policy, rewards
        self.max_actions = max_actions
        self.bounds = rewards.bounds
        self.policy_calls, self.policy_states = 0, 0
        self._uniform_share = uniform_share
        self._choices: _Cache[Choice] = _Cache(cache_size)
        self._steps: _Cache[Transition] = _Cache(cache_size)
        self._judged: _Cache[tuple[Choice, Plan | None]] = _Cache(cache_size)

    def actions(self, state: Any) -> tuple[str, ...]:
        """Return a state's actions, of which indices speak."""
        return self.world.actions(state)[: self.max_actions]

    def pack(self, roots: Sequence[Any]) -> list[Any]:
        """Return a list of these states."""
        return list(roots)

    def key(self, state: Any) -> Hashable:
        """Return the world's key."""
        return self.world.key(state)

    def step(self, states: Sequence[Any], actions: NDArray[np.int64]) -> Any:
        """See `Model.step`."""
        steps = self.serial().step(states, [int(action) for action in actions])
        rewards, discounts = np.array([step[1:] for step in steps], np.float64).reshape(-1, 2).T
        return [step[0] for step in steps], rewards, discounts

    def expand(self, states: Sequence[Any]) -> Expansion:
        """See `Model.expand`."""
        going = [row for row, state in enumerate(states) if self.actions(state)]
        logits, legal = np.zeros((len(states), self.max_actions)), np.zeros((len(states), self.max_actions), bool)
        values, plans = np.zeros(len(states)), [None] * len(states)
        judgements = self.serial().expand([states[row] for row in going])
        for row, judgement in zip(going, judgements, strict=True):
            size = len(judgement.legal)
            legal[row, :size], logits[row, :size] = True, judgement.logits
            values[row], plans[row] = judgement.value, judgement.plan
        return Expansion(logits, values, legal, plans)

    def serial(self) -> Serial:
        """Return the same world, one state at a time."""
        return _SerialPages(self)

    def take(self, moves: Sequence[tuple[Any, int]]) -> list[Transition]:
        """Take actions, by index, and have purchases judged."""
        found: list[Transition | None] = []
        asked: list[tuple[int, Any, str]] = []
        for at, (state, index) in enumerate(moves):
            key = (self.world.key(state), index)
            step = self._steps.get(key)
            if step is None:
                action = self.actions(state)[index]
                step = self.world.step(state, action)
                if step.ended and not self.rewards.is_oracle:
                    asked.append((at, state, action))
                else:
                    self._steps.put(key, step)
            found.append(step)
        if asked:
            purchases = [self.world.purchase(state, action) for _, state, action in asked]
            bought = [purchase for purchase in purchases if purchase is not None]
            worth = iter(self.rewards.judge(bought).tolist() if bought else ())
            for (at, state, _), purchase in zip(asked, purchases, strict=True):
                step = found[at]
                if step is None:
                    raise AssertionError("every move has its step")
                judged = step._replace(reward=next(worth) if purchase is not None else 0.0)
                self._steps.put((self.world.key(state), moves[at][1]), judged)
                found[at] = judged
        return [step for step in found if step is not None]

    def judge(self, states: Sequence[Any]) -> list[tuple[Choice, Plan | None]]:
        """Return what the policy proposes in each state, and its way to the end; None where it finds none."""
        keys = [self.world.key(state) for state in states]
        known = [self._judged.get(key) for key in keys]
        fresh = [at for at, entry in enumerate(known) if entry is None]
        choices = self._decide([states[at] for at in fresh])
        plans = self._roll_out([states[at] for at in fresh])
        for at, choice, plan in zip(fresh, choices, plans, strict=True):
            known[at] = (choice, plan)
            self._judged.put(keys[at], (choice, plan))
        return [entry for entry in known if entry is not None]

    def prior(self, probabilities: Sequence[float]) -> list[float]:
        """Return a policy's probabilities mixed with equal ones, for at most `max_actions` actions."""
        kept = list(probabilities[: self.max_actions])
        total, share = sum(kept), self._uniform_share
        if total <= 0:
            return [1 / len(kept)] * len(kept)
        return [(1 - share) * probability / total + share / len(kept) for probability in kept]

    def _decide(self, states: Sequence[Any]) -> list[Choice]:
        """Ask the policy about all states that it was not asked about before."""
        keys = [self.world.key(state) for state in states]
        fresh = {key: state for key, state in zip(keys, states, strict=True) if self._choices.get(key) is None}
        if fresh:
            self.policy_calls += 1
            self.policy_states += len(fresh)
            for key, choice in zip(fresh, self.policy.decide(self.world, list(fresh.values())), strict=True):
                index = min(choice.index, self.max_actions - 1)
                self._choices.put(key, Choice(choice.probabilities, index))
        return [choice for key in keys if (choice := self._choices.get(key)) is not None]

    def _roll_out(self, states: Sequence[Any]) -> list[Plan | None]:
        """Follow the policy from each state to the end, all in step."""
        plans: list[Plan | None] = [None] * len(states)
        walks = [(row, state, ()) for row, state in enumerate(states)]
        for _ in range(_MAX_ROLLOUT):
            if not walks:
                break
            choices = self._decide([state for _, state, _ in walks])
            steps = self.take([(state, choice.index) for (_, state, _), choice in zip(walks, choices, strict=True)])
            onward = []
            for (row, _, path), choice, step in zip(walks, choices, steps, strict=True):
                if step.ended:
                    plans[row] = Plan((*path, choice.index), step.reward)
                else:
                    onward.append((row, step.state, (*path, choice.index)))
            walks = onward
        return plans


class _SerialPages:
    """An environment's model, one state at a time."""

    def __init__(self, model: EnvironmentModel) -> None:
        self._model = model

    def begin(self, root: Any) -> tuple[Any, Judgement]:
        """See `Serial.begin`."""
        if not self._model.actions(root):
            return root, Judgement((), (), 0.0)
        return root, self.expand([root])[0]

    def step(self, states: Sequence[Any], actions: Sequence[int]) -> list[tuple[Any, float, float]]:
        """See `Serial.step`."""
        steps = self._model.take(list(zip(states, actions, strict=True)))
        return [(step.state, step.reward, 0.0 if step.ended else 1.0) for step in steps]

    def expand(self, states: Sequence[Any]) -> list[Judgement]:
        """See `Serial.expand`."""
        judgements = []
        for state, (choice, plan) in zip(states, self._model.judge(states), strict=True):
            size = len(self._model.actions(state))
            prior = self._model.prior(choice.probabilities)
            value = plan.value if plan is not None else 0.0
            judgements.append(Judgement(range(size), np.log(np.maximum(prior, 1e-12)).tolist(), value, plan))
        return judgements


class _Cache(Generic[Value]):
    """The latest so many entries."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return an entry, which becomes the latest."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, value: Value) -> None:
        """Keep an entry; the oldest goes where there are too many."""
        self._entries[key] = value
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
