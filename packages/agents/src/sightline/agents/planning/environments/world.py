"""A restorable text environment, walked like a tree: states are values, and a step leaves them as they were."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from sightline.agents.grammar import Purchase, TaskGrammar
from sightline.agents.protocols import RestorableEnvironment
from sightline.agents.records import Event, Situation


class Transition(NamedTuple):
    """What an action brought."""

    state: Any
    """Where it led."""
    reward: float
    """What the environment paid; 0 where rewards are withheld."""
    ended: bool
    """Whether the episode is over."""


class TextWorld(Protocol):
    """A deterministic world of pages."""

    @property
    def steps(self) -> int:
        """Steps taken in the environment so far, those for reading included."""
        ...

    def actions(self, state: Any) -> tuple[str, ...]:
        """Return what can be done; nothing where the episode is over."""
        ...

    def step(self, state: Any, action: str) -> Transition:
        """Take an action; the given state stays good."""
        ...

    def key(self, state: Any) -> Hashable:
        """Return what tells a state from others; equal keys have equal futures."""
        ...

    def purchase(self, state: Any, action: str) -> Purchase | None:
        """Return what an action buys, as the pages show it, or None where it buys nothing."""
        ...


class InformedEnvironment(RestorableEnvironment, Protocol):
    """A restorable environment that tells its present info again."""

    @property
    def info(self) -> dict[str, Any]:
        """What `reset` and `step` returned last."""
        ...


class WithheldReward:
    """An environment whose rewards cannot be seen, nor anything else that an agent cannot.

    Steps pay 0, and infos hold the instruction and the available actions only. The environment itself is out of reach
    of whoever holds this object by fair means: there is no attribute that leads to it.

    Args:
        env: the environment.
    """

    __slots__ = ("__env", "__over")

    def __init__(self, env: InformedEnvironment) -> None:
        self.__env = env
        self.__over: set[bytes] = set()

    @property
    def info(self) -> dict[str, Any]:
        """The instruction and the available actions."""
        return _visible(self.__env.info)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """See `Environment.reset`."""
        observation, info = self.__env.reset(seed=seed, options=options)
        return observation, _visible(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """See `Environment.step`; pays nothing, and shows no page once the episode is over."""
        observation, _, terminated, truncated, info = self.__env.step(action)
        if terminated:
            self.__over.add(self.__env.snapshot())
        return "" if terminated else observation, 0.0, terminated, truncated, _visible(info)

    def snapshot(self) -> bytes:
        """See `RestorableEnvironment.snapshot`."""
        return self.__env.snapshot()

    def restore(self, snapshot: bytes) -> str:
        """See `RestorableEnvironment.restore`; shows no page of an episode that is over, which may tell its reward."""
        observation = self.__env.restore(snapshot)
        return "" if snapshot in self.__over else observation


def _visible(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: info[name] for name in ("instruction_text", "available_actions")}


@dataclass(frozen=True, slots=True)
class PageState:
    """Where an episode stands."""

    token: bytes
    """The environment's snapshot."""
    situation: Situation = field(compare=False)
    """What an agent sees; its actions are empty where the episode is over."""


class EnvironmentWorld:
    """Any restorable environment as a `TextWorld`.

    Args:
        env: the environment; it is left at whatever state was stepped last.
        grammar: what its pages, actions and purchases look like.

    Raises:
        ValueError: the grammar does not say how purchases are read.
    """

    def __init__(self, env: InformedEnvironment, grammar: TaskGrammar) -> None:
        if grammar.purchases is None:
            raise ValueError(f"the grammar {grammar.name!r} does not say how purchases are read: give it `purchases`")
        self._env, self._grammar, self._reader = env, grammar, grammar.purchases
        self._at: bytes | None = None
        self._details: dict[Hashable, str] = {}
        self.steps = 0

    def root(self, events: tuple[Event, ...] = ()) -> PageState:
        """Return the environment's present state.

        Args:
            events: what happened before the present page, for an agent that looks back.
        """
        token = self._env.snapshot()
        observation = self._env.restore(token)
        self._at = token
        return PageState(token, self._situation(events, observation, self._env.info))

    def actions(self, state: PageState) -> tuple[str, ...]:
        """See `TextWorld.actions`."""
        return state.situation.actions

    def step(self, state: PageState, action: str) -> Transition:
        """See `TextWorld.step`.

        Raises:
            Exception: what the environment raises.
        """
        if self._at != state.token:
            self._at = None
            self._env.restore(state.token)
        self._at = None
        observation, reward, terminated, truncated, info = self._env.step(action)
        self.steps += 1
        token = self._at = self._env.snapshot()
        ended = terminated or truncated
        events = (*state.situation.events, Event("ACT", action))
        situation = self._situation(events, observation, info)
        return Transition(
            PageState(token, replace(situation, actions=()) if ended else situation), float(reward), ended
        )

    def key(self, state: PageState) -> bytes:
        """Return the snapshot."""
        return state.token

    def purchase(self, state: PageState, action: str) -> Purchase | None:
        """See `TextWorld.purchase`.

        The item's further pages are opened in a copy of the episode; that counts as steps.
        """
        if not self._reader.buys(action):
            return None
        situation = state.situation
        item = next((event.text for event in reversed(situation.events) if self._opens_item(event)), None)
        if item not in self._details:
            self._details[item] = "\n".join(self._read(state))
        return self._reader.read(situation.instruction, situation.observation, self._details[item])

    def _read(self, state: PageState) -> list[str]:
        """Return the texts of the item's further pages."""
        further = self._reader.further_pages(state.situation.actions)
        return [self.step(state, action).state.situation.observation for action in further]

    def _situation(self, events: tuple[Event, ...], observation: str, info: Mapping[str, Any]) -> Situation:
        instruction = info["instruction_text"]
        actions = self._grammar.candidate_actions(instruction, info["available_actions"])
        return Situation(instruction, (*events, Event("OBS", observation)), actions)

    def _opens_item(self, event: Event) -> bool:
        return event.kind == "ACT" and self._reader.opens_item(event.text)
