"""Recorded episodes: a file of trajectories, one JSON object a line, as agents write and viewers read them.

A recording says what was seen, what could be done and what was done; where its steps hold snapshots, an episode can be
taken up again at any of them. Recordings come from elsewhere: everything is bounded and checked before it is used.
This module knows nothing of environments, servers or trees.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES, decode, encode
from sightline.webshop_env.errors import GoalError, SnapshotError, WebShopError
from sightline.webshop_env.files import atomic_file
from sightline.webshop_env.rules.pages import SEARCH, Page
from sightline.webshop_env.rules.render import render_text
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH, Shop, parse_action

if TYPE_CHECKING:
    from sightline.webshop_env.episodes.snapshot import Moment
    from sightline.webshop_env.rules.state import ShopState

MAX_LINE_BYTES: Final = 1 << 26
MAX_STEPS: Final = 100_000

_MAX_SNAPSHOT_CHARACTERS: Final = (MAX_SNAPSHOT_BYTES + 2) // 3 * 4
_SHOWN_CHARACTERS: Final = 80
_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecordingError(WebShopError, ValueError):
    """A recording does not say what it should, or does not fit this shop."""


class RecordedAttention(BaseModel):
    """One chunk of a page that an agent considered."""

    model_config = _RECORD

    text: str
    """The chunk."""
    score: float
    """The retriever's score; higher is better."""
    selected: bool
    """Whether the agent's policy saw it."""


class RecordedConsultation(BaseModel):
    """What an agent's search for documents beside a page gave."""

    model_config = _RECORD

    ids: tuple[str, ...]
    """Documents that were read, the nearest first."""
    texts: tuple[str, ...]
    """Their contents."""
    backend: str | None = None
    """Name of the backend that answered; None where none was asked or none could."""
    stale: bool = False
    """Whether the documents may be those of an earlier state."""
    error: str | None = None
    """Reason why no backend answered."""


class RecordedStep(BaseModel):
    """One decision: what was seen, what could be done, what was done."""

    model_config = _RECORD

    observation: str
    """The page before the action."""
    available_actions: tuple[str, ...]
    """The actions to choose from, for example `click[buy now]`."""
    action: str
    """The one that was executed; one of those."""
    expert_action: str | None = None
    """What a demonstrator would have done here; one of those."""
    values: tuple[float, ...] | None = None
    """What each available action is worth to one who knows the goal, in their order."""
    reward: float
    """What the action earned."""
    probabilities: tuple[float, ...] | None = None
    """The agent's, one per available action in their order."""
    attention: tuple[RecordedAttention, ...] = ()
    """Chunks of the page in page order, from agents that retrieve."""
    consultation: RecordedConsultation | None = None
    """Documents that were read beside the page, from agents that search for some."""
    prompt_tokens: int = 0
    """Tokens the agent's model read."""
    completion_tokens: int = 0
    """Tokens it scored or wrote."""
    snapshot: str | None = Field(default=None, max_length=_MAX_SNAPSHOT_CHARACTERS)
    """The episode before the action, as `encode` writes it, in base64."""

    @model_validator(mode="after")
    def _check_actions(self) -> Self:
        for name, action in (("action", self.action), ("expert_action", self.expert_action)):
            if action is not None and action not in self.available_actions:
                raise ValueError(f"{name} {_shown(action)} should be one of available_actions")
        for name, numbers in (("probabilities", self.probabilities), ("values", self.values)):
            if numbers is not None and len(numbers) != len(self.available_actions):
                raise ValueError(
                    f"{name} should be one per available action ({len(self.available_actions)}, not {len(numbers)})"
                )
        return self


class Recording(BaseModel):
    """One episode."""

    model_config = _RECORD

    schema_version: Literal[1] = 1
    episode_id: str
    """Names the episode among those it is stored with."""
    goal: int
    """Index into the shop's goals."""
    agent: str
    """Name of who acted."""
    seed: int
    """Seed that the environment's `reset` was given."""
    instruction: str
    """What the episode asks for; empty when it never began."""
    steps: tuple[RecordedStep, ...] = Field(max_length=MAX_STEPS)
    """The decisions in order."""
    final_observation: str
    """The page after the last action; empty when the episode never began."""
    total_reward: float
    """Sum over the steps."""
    terminated: bool
    """Something was bought."""
    truncated: bool
    """A step limit ended the episode."""
    error: str | None = None
    """Why the episode broke off; None when it did not."""


def read_recordings(path: str | Path) -> Iterator[Recording]:
    """Read a file of recordings, one at a time; blank lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        RecordingError: a line is no recording, or longer than 64 MB; the message names file, line and field.
    """
    with Path(path).open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise RecordingError(f"{where}: longer than {MAX_LINE_BYTES:,} bytes, which no recording is")
            if line.strip():
                yield parse_recording(line, where=where)


def parse_recording(text: str | bytes, *, where: str) -> Recording:
    """Read one recording.

    Args:
        text: a JSON object, of at most 64 MB.
        where: the place to name in an error, for example `episodes.jsonl, line 3`.

    Raises:
        RecordingError: it is no recording; the message names the field.
    """
    if len(text) > MAX_LINE_BYTES:
        raise RecordingError(f"{where}: longer than {MAX_LINE_BYTES:,} bytes, which no recording is")
    try:
        return Recording.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        place = f"{where}, field {field!r}" if field else where
        raise RecordingError(f"{place}: {first['msg']}, but found {_shown(first['input'])}") from None


def write_recordings(path: str | Path, recordings: Iterable[Recording]) -> None:
    """Write recordings, one a line; the file appears, or changes, only when all of them are written.

    Raises:
        RecordingError: one of them takes more than 64 MB.
        OSError: the file cannot be written there.
    """
    with atomic_file(Path(path)) as file:
        file.writelines(_line(recording).encode() for recording in recordings)


def record(
    shop: Shop,
    moments: Sequence[Moment],
    final: ShopState,
    *,
    episode_id: str,
    agent: str,
    seed: int = 0,
    render: Callable[[Page], str] = render_text,
) -> Recording:
    """Write an episode down from its states and actions, with a snapshot before every action.

    Args:
        shop: shop in which it took place.
        moments: each state with the action that was taken in it, in order; the first need not be the episode's start.
        final: the state after the last action.
        episode_id: names the episode among those it is stored with.
        agent: name of who acted.
        seed: seed that the environment's `reset` was given, where that is known; the snapshots hold what came of it.
        render: draws the observations.

    Raises:
        RecordingError: an action does not lead from its state to the next, or there are more than 100,000 of them.
    """
    if len(moments) > MAX_STEPS:
        raise RecordingError(f"a recording has at most {MAX_STEPS:,} steps, not {len(moments):,}")
    steps = []
    following = [*(state for state, _ in moments), final][1:]
    for number, ((state, action), after) in enumerate(zip(moments, following, strict=True)):
        reached, outcome = shop.act(state, action)
        if reached != after:
            raise RecordingError(f"step {number}: {_shown(action)} does not lead to the state that follows")
        clicks = click_actions(shop.page(state))
        action = _recordable(action, clicks)
        steps.append(
            RecordedStep(
                observation=render(shop.page(state)),
                available_actions=clicks if action in clicks else (*clicks, action),
                action=action,
                reward=outcome.reward,
                snapshot=base64.b64encode(encode(shop, state)).decode("ascii"),
            )
        )
    return Recording(
        episode_id=episode_id,
        goal=final.goal,
        agent=agent,
        seed=seed,
        instruction=shop.goal(final).instruction_text,
        steps=tuple(steps),
        final_observation=render(shop.page(final)),
        total_reward=sum(step.reward for step in steps),
        terminated=final.done,
        truncated=final.truncated,
    )


def click_actions(page: Page) -> tuple[str, ...]:
    """Return the clicks that a page offers, in page order; the button that submits the search bar is not among them."""
    return tuple(f"click[{label}]" for label in page.targets if label != SEARCH.lower())


def state_at(shop: Shop, recording: Recording, step: int) -> ShopState:
    """Return the state before a recorded action: from the latest snapshot up to there, and the actions after it.

    Without any snapshot the episode is played from its goal and seed.

    Args:
        shop: one with the catalogue and goals of the recording.
        recording: the episode.
        step: 0 for the first page up to `len(recording.steps)` for the last.

    Raises:
        IndexError: there is no such step.
        RecordingError: a snapshot is damaged or from another shop, or this shop has no such goal.
    """
    count = len(recording.steps)
    if not 0 <= step <= count:
        raise IndexError(f"recording {_shown(recording.episode_id)} has pages 0 to {count}, not {step!r}")
    saved = [number for number in range(min(step + 1, count)) if recording.steps[number].snapshot is not None]
    state = saved_state(shop, recording, saved[-1]) if saved else first_state(shop, recording)
    for played in recording.steps[saved[-1] if saved else 0 : step]:
        state, _ = shop.act(state, played.action)
    return state


def saved_state(shop: Shop, recording: Recording, step: int) -> ShopState:
    """Return the state that a step's snapshot holds.

    Raises:
        RecordingError: there is no snapshot, or it is damaged or from another shop.
    """
    where = f"recording {_shown(recording.episode_id)}, step {step}, snapshot"
    snapshot = recording.steps[step].snapshot
    if snapshot is None:
        raise RecordingError(f"{where}: there is none")
    try:
        state, _ = decode(shop, base64.b64decode(snapshot, validate=True))
    except binascii.Error as error:
        raise RecordingError(f"{where}: not base64 ({error})") from None
    except SnapshotError as error:
        raise RecordingError(f"{where}: {error}") from None
    return state


def first_state(shop: Shop, recording: Recording) -> ShopState:
    """Return the state in which an environment's `reset` with the recording's seed and goal leaves an episode.

    Raises:
        RecordingError: this shop has no such goal, or the seed is negative.
    """
    try:
        # The environment's draw: the first integer of the generator that the seed stands for.
        seed = int(np.random.default_rng(recording.seed).integers(1 << 32))
        return shop.start(recording.goal, seed)
    except (GoalError, ValueError) as error:
        raise RecordingError(f"recording {_shown(recording.episode_id)} cannot begin here: {error}") from None


def _recordable(action: str, clicks: tuple[str, ...]) -> str:
    """Return the click as the page offers it, or else the action as JSON can hold it, cut short and no less invalid."""
    parsed = parse_action(action)
    if parsed is not None and (offered := "{}[{}]".format(*parsed)) in clicks:
        return offered
    kept = action[: MAX_ACTION_LENGTH + 1].encode("utf-8", "replace").decode("utf-8")
    return kept if parse_action(kept) == parsed else kept.replace("[", "(")


def _line(recording: Recording) -> str:
    line = recording.model_dump_json() + "\n"
    # The bound is on bytes; counting them is needed only where characters may take several.
    if len(line) > MAX_LINE_BYTES or (len(line) > MAX_LINE_BYTES // 4 and len(line.encode()) > MAX_LINE_BYTES):
        raise RecordingError(f"recording {_shown(recording.episode_id)} takes more than {MAX_LINE_BYTES:,} bytes")
    return line


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 3]}..."
