"""Trajectories: episodes as records, in memory and as JSON Lines.

This module knows nothing of environments, agents or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from sightline.agents.records import Attention, Consultation, Event, Situation, best_actions, in_two_page_loop
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import parse_record

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Step(BaseModel):
    """One decision: what was seen, what could be done, what was done."""

    model_config = _RECORD

    observation: str
    """The page before the action."""
    available_actions: tuple[str, ...]
    """The candidate actions, for example `open the door`."""
    action: str
    """The candidate that was executed."""
    expert_action: str | None = None
    """The candidate that a demonstrator would have taken here, the label for imitation. It differs from
    `action` where the collector explored."""
    values: tuple[float, ...] | None = None
    """What each candidate is worth to one who sees the goal, in the candidates' order."""
    reward: float
    """Reward that the action earned."""
    probabilities: tuple[float, ...] | None = None
    """Probabilities of the agent, one per candidate in their order."""
    attention: tuple[Attention, ...] = ()
    """The page's chunks in page order, for agents that retrieve."""
    consultation: Consultation | None = None
    """Documents that were read beside the page, and the backend that gave them, for agents that search for some."""
    prompt_tokens: int = 0
    """Tokens the actor read."""
    completion_tokens: int = 0
    """Tokens the actor scored or wrote."""
    snapshot: str | None = None
    """The environment's state before the action, in base64."""

    @model_validator(mode="after")
    def _check_candidates(self) -> Self:
        for name, action in (("action", self.action), ("expert_action", self.expert_action)):
            if action is not None and action not in self.available_actions:
                raise ValueError(f"{name} {action!r} should be one of available_actions")
        for name, numbers in (("probabilities", self.probabilities), ("values", self.values)):
            if numbers is not None and len(numbers) != len(self.available_actions):
                raise ValueError(
                    f"{name} should be one per available action ({len(self.available_actions)}, not {len(numbers)})"
                )
        return self

    @property
    def best_actions(self) -> tuple[str, ...]:
        """The candidates of the highest value; without values the expert's action, and none without either."""
        return best_actions(self.available_actions, self.values, self.expert_action)


class Trajectory(BaseModel):
    """One episode."""

    model_config = _RECORD

    schema_version: Literal[1] = 1
    episode_id: str
    """Name of the episode among those it is stored with."""
    goal: int
    """Index of the task in the environment."""
    agent: str
    """Name of who acted."""
    seed: int
    """Root seed of the run."""
    instruction: str
    """What the user asked for; empty when the episode never began."""
    steps: tuple[Step, ...]
    """The decisions in order."""
    final_observation: str
    """The page after the last action; empty when the episode never began."""
    total_reward: float
    """Sum of the steps' rewards."""
    terminated: bool
    """Whether the task ended."""
    truncated: bool
    """Whether the step limit ended it."""
    error: str | None = None
    """Reason why the episode broke off, for example `RuntimeError: no connection`; None when it did not."""

    @property
    def success(self) -> bool:
        """Whether the last action earned the full reward of 1."""
        return bool(self.steps) and self.steps[-1].reward >= 1 - 1e-9

    @property
    def loop_step(self) -> int | None:
        """Index of the first step that was taken in a loop of two pages (`in_two_page_loop`); None without one."""
        pages = [step.observation for step in self.steps]
        return next((t for t in range(len(pages)) if in_two_page_loop(pages[: t + 1])), None)

    def events(self, t: int) -> tuple[Event, ...]:
        """Return what had happened when observation `t` was seen: observations 0 to t and the actions between them.

        Args:
            t: number of the observation: 0 for the first page up to `len(steps)` for the final one.

        Raises:
            IndexError: there is no such observation.
        """
        if not 0 <= t <= len(self.steps):
            raise IndexError(f"{self.episode_id!r} has observations 0 to {len(self.steps)}, not {t!r}")
        events = []
        for step in self.steps[:t]:
            events += [Event("OBS", step.observation), Event("ACT", step.action)]
        last = self.steps[t].observation if t < len(self.steps) else self.final_observation
        return (*events, Event("OBS", last))

    def situations(self) -> Iterator[tuple[Situation, str]]:
        """Yield every situation the agent was in, each with the action it took."""
        for t, step in enumerate(self.steps):
            yield (
                Situation(self.instruction, self.events(t), step.available_actions, step.expert_action, step.values),
                step.action,
            )


def write_trajectories(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories as JSON Lines; the file appears, or changes, only when all of them are written."""
    with atomic_file(path) as file:
        for trajectory in trajectories:
            file.write(trajectory.model_dump_json().encode() + b"\n")


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """Read what `write_trajectories` wrote, one episode at a time.

    Raises:
        FileNotFoundError: there is no such file.
        RecordError: a line is not a trajectory; the message names file, line and field.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield parse_record(
                Trajectory,
                line,
                where=f"{path}, line {number}",
                remedy="Collect the file again, or remove the line.",
            )
