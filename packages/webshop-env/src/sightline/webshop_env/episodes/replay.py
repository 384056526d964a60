"""Plays recorded episodes again and says where they come out differently.

What a shop shows is a function of states and actions, so an episode that was recorded here, or in any shop of the same
products and goals, reproduces to the letter. This module knows nothing of who acted: the words that an agent thought
of searching for are its own and are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.webshop_env.episodes.recording import (
    RecordedStep,
    Recording,
    RecordingError,
    click_actions,
    first_state,
    read_recordings,
    saved_state,
)
from sightline.webshop_env.rules.render import RENDERERS, render_text
from sightline.webshop_env.rules.state import ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.rules.pages import Page
    from sightline.webshop_env.rules.shop import Shop

_TOLERANCE: Final = 1e-9
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a page or reward comes out differently."""

    step: int
    """0 for what came before the first action, up to the number of steps for the last page."""
    field: str
    """Of the step or of the recording, as the file calls it."""
    recorded: object
    """What the file says."""
    replayed: object
    """What this shop says."""

    def __str__(self) -> str:
        recorded, replayed = self.recorded, self.replayed
        place = f"step {self.step}, {self.field}"
        if isinstance(recorded, str) and isinstance(replayed, str):
            at = _first_mismatch(recorded, replayed)
            # A little of what both say, so that the place can be found on the page.
            start = max(at - _SHOWN_CHARACTERS // 3, 0)
            recorded, replayed = recorded[start:], replayed[start:]
            place = f"{place} from character {at}"
        return f"{place}: recorded {_shown(recorded)}, here {_shown(replayed)}"


@dataclass(frozen=True, slots=True)
class Replay:
    """How an episode came out when it was played again."""

    episode_id: str
    """The recording's."""
    steps: int
    """How many actions were played."""
    differences: tuple[Difference, ...]
    """The first one of every step that differs, in order."""

    @property
    def reproduces(self) -> bool:
        """Whether everything came out as recorded."""
        return not self.differences

    def __str__(self) -> str:
        name = _shown(self.episode_id)
        if self.reproduces:
            return f"{name}: {self.steps} steps reproduce"
        rest = len(self.differences) - 1
        more = f"; {rest} later pages differ too" if rest else ""
        return f"{name}: {self.differences[0]}{more}"


def replay(shop: Shop, recording: Recording) -> Replay:
    """Play a recorded episode again.

    Compared are, before every action, the observation (in the mode `text`, `text_rich` or `html`, whichever
    draws the first page as recorded), the clicks among the available actions, and the snapshot where there is one; then
    the reward. In the end the last page and whether something was bought. Rewards may differ by 1e-9.

    The episode begins at the first step's snapshot, or without one at the recording's goal and seed.

    Args:
        shop: one with the products and goals of the recording.
        recording: the episode, with observations that hold the page alone.

    Returns:
        What differs; also where the episode cannot begin here, because the shop has other products or goals.
    """
    if not (recording.steps or recording.final_observation):
        return Replay(recording.episode_id, 0, ())
    try:
        saved = recording.steps and recording.steps[0].snapshot is not None
        state = saved_state(shop, recording, 0) if saved else first_state(shop, recording)
    except RecordingError as error:
        return Replay(recording.episode_id, 0, (Difference(0, "snapshot" if saved else "goal", "", str(error)),))
    render = _renderer(recording, shop.page(state))
    differences = []
    total = 0.0
    instruction = shop.goal(state).instruction_text
    if recording.instruction != instruction:
        differences.append(Difference(0, "instruction", recording.instruction, instruction))
    for number, step in enumerate(recording.steps):
        after, outcome = shop.act(state, step.action)
        difference = _page_difference(shop, recording, number, state, render)
        if difference is None and abs(step.reward - outcome.reward) > _TOLERANCE:
            difference = Difference(number, "reward", step.reward, outcome.reward)
        differences += [] if difference is None else [difference]
        state, total = after, total + outcome.reward
    differences += _end_differences(recording, state, render(shop.page(state)), total)
    return Replay(recording.episode_id, len(recording.steps), tuple(differences))


def verify(shop: Shop, path: str | Path) -> Iterator[Replay]:
    """Play every episode of a file of recordings again, one at a time.

    Raises:
        FileNotFoundError: there is no such file.
        RecordingError: a line is no recording; the message names file, line and field.
    """
    return (replay(shop, recording) for recording in read_recordings(path))


def _renderer(recording: Recording, first: Page) -> Callable[[Page], str]:
    """Return what draws the first page as it was recorded, or else the mode `text`."""
    seen = recording.steps[0].observation if recording.steps else recording.final_observation
    return next((render for render in RENDERERS.values() if render(first) == seen), render_text)


def _page_difference(
    shop: Shop, recording: Recording, number: int, state: ShopState, render: Callable[[Page], str]
) -> Difference | None:
    step = recording.steps[number]
    page = shop.page(state)
    if step.observation != (observation := render(page)):
        return Difference(number, "observation", step.observation, observation)
    clicks = click_actions(page)
    if (recorded := _recorded_clicks(step, clicks)) != clicks:
        return Difference(number, "available_actions", recorded, clicks)
    if step.snapshot is None:
        return None
    try:
        saved = saved_state(shop, recording, number)
    except RecordingError as error:
        return Difference(number, "snapshot", "", str(error))
    pairs = ((name, getattr(saved, name), getattr(state, name)) for name in ShopState._fields)
    return next((Difference(number, f"snapshot.{name}", old, new) for name, old, new in pairs if old != new), None)


def _recorded_clicks(step: RecordedStep, clicks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the available actions without searches and without what was done though the page does not offer it."""
    own = {step.action, step.expert_action} - set(clicks)
    return tuple(a for a in step.available_actions if a in clicks or not (a in own or a.startswith("search[")))


def _end_differences(recording: Recording, state: ShopState, observation: str, total: float) -> list[Difference]:
    end = len(recording.steps)
    if recording.final_observation != observation:
        return [Difference(end, "final_observation", recording.final_observation, observation)]
    if recording.terminated != state.done:
        return [Difference(end, "terminated", recording.terminated, state.done)]
    if abs(recording.total_reward - total) > _TOLERANCE * max(end, 1):
        return [Difference(end, "total_reward", recording.total_reward, total)]
    return []


def _first_mismatch(left: str, right: str) -> int:
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 3]}..."
