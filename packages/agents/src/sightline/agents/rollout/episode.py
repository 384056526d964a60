"""One episode while it is played: it offers situations, takes decisions and ends as a trajectory.

Rollouts and demonstrations are both made of these. What an environment raises ends its own episode, with the error
recorded. This module knows nothing of how decisions are made or of how episodes are scheduled.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from sightline.agents.grammar import TaskGrammar
from sightline.agents.protocols import ActionValues, Demonstrator, Environment, InfoMapping, RestorableEnvironment
from sightline.agents.records import Decision, Event, Situation
from sightline.agents.trajectory import Step, Trajectory
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import parse_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be done on a page."""

    actions: tuple[str, ...]
    """Candidates to choose from."""
    expert_action: str | None = None
    """What an expert would do; not necessarily a candidate."""
    values: tuple[float, ...] | None = None
    """What each candidate is worth."""
    snapshot: bytes | None = None
    """The environment's state, for the record."""


MakeOffer = Callable[[str, InfoMapping, Sequence[Step]], Offer]
"""The episode's instruction, the info of the present page and the steps before it -> what can be done there."""


class EpisodeInProgress(BaseModel):
    """An episode that waits for its next decision, as a record that can be saved and continued elsewhere.

    Agents keep no memory between calls, so this and the agent's own weights are all that is needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    agent: str
    """Name of who acts."""
    goal: int
    """Index of the task in the environment."""
    seed: int
    """Seed of the environment's reset."""
    max_steps: int = Field(ge=1)
    """Steps after which the episode is truncated."""
    instruction: str
    """What the user asked for."""
    steps: tuple[Step, ...]
    """The decisions so far."""
    observation: str
    """The page that waits for a decision."""
    actions: tuple[str, ...] = Field(min_length=1)
    """Candidates on that page."""
    expert_action: str | None
    """What an expert would do there."""
    values: tuple[float, ...] | None = None
    """What each candidate is worth there."""
    snapshot: Base64Bytes
    """The environment's state there; base64 in JSON."""

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        with atomic_file(path) as file:
            file.write(self.model_dump_json().encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            RecordError: the file holds something else; the message names the field.
        """
        return parse_record(cls, path.read_bytes(), where=str(path), remedy="Play the episode from its beginning.")


class Episode:
    """One episode of an environment, from its reset to its trajectory.

        episode = Episode(environment, grammar, agent=agent.name, goal=3, seed=0, max_steps=15)
        while episode.situation is not None:
            (decision,) = agent.choose([episode.situation])
            episode.take(decision)
        trajectory = episode.trajectory()

    Args:
        environment: environment to act in; it plays this episode alone until the end.
        grammar: what can be chosen on a page.
        agent: name of who acts.
        goal: index of the task in the environment.
        seed: seed of the environment's reset.
        max_steps: steps after which the episode is truncated, if the environment has not ended it.
        expert: demonstrator whose action goes into each situation, where only agents that are bounds look at it.
        values: function that says what each candidate is worth; for bounds and labels alone, as the expert.
        make_offer: what can be done on a page, in place of the grammar's candidates, the expert's action and values.
        snapshots: whether each step keeps the environment's state before it; it then needs a `snapshot`.
    """

    def __init__(
        self,
        environment: Environment,
        grammar: TaskGrammar,
        *,
        agent: str,
        goal: int,
        seed: int,
        max_steps: int,
        expert: Demonstrator | None = None,
        values: ActionValues | None = None,
        make_offer: MakeOffer | None = None,
        snapshots: bool = False,
    ) -> None:
        self._set_up(environment, grammar, agent, goal, seed, max_steps, expert, values, make_offer, snapshots)
        with self._recording_errors():
            self._observation, info = environment.reset(seed=seed, options={"goal": goal})
            self._instruction = info["instruction_text"]
            self._events = (Event("OBS", self._observation),)
            self._offer = self._make_offer(self._instruction, info, self._steps)

    def _set_up(
        self,
        environment: Environment,
        grammar: TaskGrammar,
        agent: str,
        goal: int,
        seed: int,
        max_steps: int,
        expert: Demonstrator | None,
        values: ActionValues | None,
        make_offer: MakeOffer | None,
        snapshots: bool,
    ) -> None:
        self._environment, self._grammar = environment, grammar
        self._agent, self._goal, self._seed, self._max_steps = agent, goal, seed, max_steps
        self._expert, self._values = expert, values
        self._snapshots = snapshots
        self._make_offer = make_offer or self._candidates_and_expert
        self._steps: list[Step] = []
        self._events: tuple[Event, ...] = ()
        self._observation = self._instruction = ""
        self._offer: Offer | None = None  # None when the episode is over
        self._terminated = self._truncated = False
        self._error: str | None = None

    @classmethod
    def resume(
        cls,
        environment: RestorableEnvironment,
        grammar: TaskGrammar,
        saved: EpisodeInProgress,
        *,
        expert: Demonstrator | None = None,
        values: ActionValues | None = None,
        snapshots: bool = False,
    ) -> Self:
        """Continue a saved episode in any copy of its environment; it ends with the trajectory it would have had.

        Args:
            environment: copy to continue in; its present episode, if any, is replaced.
            grammar: grammar as for a new episode; give the same one.
            saved: record that `pause` gave.
            expert: expert as for a new episode; give the same one.
            values: values as for a new episode; give the same ones.
            snapshots: whether steps keep states, as for a new episode.

        Raises:
            ValueError: the environment restores another page than the one that was saved, so it is no copy.
            Exception: what the environment's `restore` raises.
        """
        observation = environment.restore(saved.snapshot)
        if observation != saved.observation:
            raise ValueError(
                f"the environment restores the page {observation[:80]!r}, but the episode of goal {saved.goal} was "
                f"saved on {saved.observation[:80]!r}; resume it in a copy of the environment it was played in"
            )
        episode = cls.__new__(cls)
        episode._set_up(
            environment, grammar, saved.agent, saved.goal, saved.seed, saved.max_steps, expert, values, None, snapshots
        )
        episode._steps = list(saved.steps)
        episode._instruction, episode._observation = saved.instruction, saved.observation
        for step in saved.steps:
            episode._events += (Event("OBS", step.observation), Event("ACT", step.action))
        episode._events += (Event("OBS", saved.observation),)
        episode._offer = Offer(saved.actions, saved.expert_action, saved.values, saved.snapshot if snapshots else None)
        return episode

    @property
    def situation(self) -> Situation | None:
        """What is to be decided; None when the episode is over."""
        if self._offer is None:
            return None
        offer = self._offer
        return Situation(self._instruction, self._events, offer.actions, offer.expert_action, offer.values)

    def take(self, decision: Decision) -> None:
        """Carry out a decision; one that is an error ends the episode with it.

        Raises:
            RuntimeError: the episode is over.
        """
        offer = self._open_offer()
        self._offer = None
        if decision.error is not None:
            self._error = decision.error
            return
        with self._recording_errors():
            before = self._observation
            page, reward, self._terminated, self._truncated, info = self._environment.step(decision.action)
            self._observation = page
            self._events += (Event("ACT", decision.action), Event("OBS", page))
            self._steps.append(_step(before, offer, decision, float(reward)))
            at_limit = len(self._steps) >= self._max_steps
            self._truncated = self._truncated or (at_limit and not self._terminated)
            if not (self._terminated or self._truncated):
                self._offer = self._make_offer(self._instruction, info, self._steps)

    def pause(self) -> EpisodeInProgress:
        """Return the episode as it stands, to be continued by `resume`; this one can go on as well.

        Raises:
            RuntimeError: the episode is over.
            TypeError: the environment has no `snapshot()`.
        """
        offer = self._open_offer()
        return EpisodeInProgress(
            agent=self._agent,
            goal=self._goal,
            seed=self._seed,
            max_steps=self._max_steps,
            instruction=self._instruction,
            steps=tuple(self._steps),
            observation=self._observation,
            actions=offer.actions,
            expert_action=offer.expert_action,
            values=offer.values,
            snapshot=base64.b64encode(self._take_snapshot()),
        )

    def trajectory(self) -> Trajectory:
        """Return the record of the episode.

        Raises:
            RuntimeError: the episode is not over.
        """
        if self._offer is not None:
            raise RuntimeError(f"the episode of goal {self._goal} is not over; take() a decision or pause() it")
        return Trajectory(
            episode_id=episode_id(self._agent, self._seed, self._goal),
            goal=self._goal,
            agent=self._agent,
            seed=self._seed,
            instruction=self._instruction,
            steps=tuple(self._steps),
            final_observation=self._observation,
            total_reward=sum(step.reward for step in self._steps),
            terminated=self._terminated,
            truncated=self._truncated,
            error=self._error,
        )

    def _open_offer(self) -> Offer:
        if self._offer is None:
            raise RuntimeError(f"the episode of goal {self._goal} is over; its trajectory() is complete")
        return self._offer

    def _candidates_and_expert(self, instruction: str, info: InfoMapping, _: Sequence[Step]) -> Offer:
        actions = self._grammar.candidate_actions(instruction, info["available_actions"])
        if not actions:
            raise ValueError(f"the page offers no action: {self._observation[:200]!r}")
        expert_action = self._expert(self._environment) if self._expert else None
        values = tuple(self._values(self._environment, actions)) if self._values else None
        return Offer(actions, expert_action, values, self._take_snapshot() if self._snapshots else None)

    def _take_snapshot(self) -> bytes:
        take = getattr(self._environment, "snapshot", None)
        if take is None:
            raise TypeError(f"{type(self._environment).__name__} has no snapshot(), so its episodes cannot be saved")
        return take()

    @contextmanager
    def _recording_errors(self) -> Generator[None]:
        try:
            yield
        except Exception as exception:
            logger.warning(
                "The episode of goal %d broke off after %d steps", self._goal, len(self._steps), exc_info=True
            )
            self._error = f"{type(exception).__name__}: {exception}"


def episode_id(agent: str, seed: int, goal: int) -> str:
    """Return the name of an episode among those of one experiment."""
    return f"{agent}-seed{seed}-goal{goal}"


def _step(observation: str, offer: Offer, decision: Decision, reward: float) -> Step:
    return Step(
        observation=observation,
        available_actions=offer.actions,
        action=decision.action,
        # An expert's own search words are no candidate; offering them would hand the agent the expert's knowledge.
        expert_action=offer.expert_action if offer.expert_action in offer.actions else None,
        values=offer.values,
        reward=reward,
        probabilities=decision.probabilities or None,
        # The chunks that were passed over are in the observation already.
        attention=tuple(chunk for chunk in decision.attention if chunk.selected),
        consultation=decision.consultation,
        prompt_tokens=decision.prompt_tokens,
        completion_tokens=decision.completion_tokens,
        snapshot=None if offer.snapshot is None else base64.b64encode(offer.snapshot).decode(),
    )
