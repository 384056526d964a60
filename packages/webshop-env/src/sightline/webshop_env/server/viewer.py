"""Trajectories for people: list the episodes of a file, scrub through one step by step, and fork it anywhere.

A step is shown as the shop's own page where this shop can be brought into the recorded state, and always as the text
that was recorded. Playing on from a fork is `server.web`'s business.
"""

# FastAPI reads the annotations of handlers, so that their types are imported at run time.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from fastapi import Form, Query, Request, Response, UploadFile
from fastapi import Path as PathParameter
from fastapi.responses import RedirectResponse

from sightline.webshop_env.commands.layout import Layout, lay_out, recorded_lines
from sightline.webshop_env.episodes.recording import RecordedStep, Recording, RecordingError, state_at
from sightline.webshop_env.rules.render import RENDERERS, SEPARATOR, url
from sightline.webshop_env.server.cookie import enter
from sightline.webshop_env.server.pictures import Pictures
from sightline.webshop_env.server.sessions import Sessions
from sightline.webshop_env.server.shelf import EPISODES_PER_PAGE, Shelf
from sightline.webshop_env.server.templating import render

if TYPE_CHECKING:
    from sightline.webshop_env.episodes.snapshot import Moment
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState

MAX_SHOWN: Final = 500
"""Lines, actions or chunks of one step that are shown; recordings can hold any number."""

MAX_SHOWN_CHARACTERS: Final = 5_000
"""Of one line or chunk."""

NEIGHBOURS: Final = 40
"""Steps listed on either side of the one that is shown."""

_Name: TypeAlias = Annotated[str, PathParameter(max_length=255)]
_Number: TypeAlias = Annotated[int, PathParameter(ge=0, lt=1 << 53)]
_Step: TypeAlias = Annotated[int, Query(ge=0, lt=1 << 53)]


@dataclass(frozen=True, slots=True)
class Choice:
    """An action that could be taken, as the viewer lists it; `probability` is the agent's, where recorded."""

    action: str
    probability: float | None
    taken: bool
    expert: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a page; `share` is its score as a part of the page's highest, from 0 to 1."""

    text: str
    score: float
    share: float
    selected: bool


class Viewer:
    """The handlers of the viewer's pages.

    Args:
        sessions: the table of open sessions, where forks are played on.
        shelf: where trajectories are found.
        pictures: product pictures to show; None for none.
    """

    def __init__(self, sessions: Sessions, shelf: Shelf, pictures: Pictures | None = None) -> None:
        self._sessions = sessions
        self._shop = sessions.shop
        self._shelf = shelf
        self._pictures = pictures

    def upload(self, file: UploadFile) -> Response:
        """Take a file in and show its episodes; the layer around the application bounds its size."""
        return RedirectResponse(f"/trajectories/{self._shelf.upload(file.file)}", status_code=303)

    def show_file(self, name: _Name, first: Annotated[int, Query(ge=0, lt=1 << 53)] = 0) -> Response:
        """Return the episodes of a file, some at a time."""
        excerpt = self._shelf.excerpt(name, first)
        return render("episodes.html", name=name, excerpt=excerpt, per_page=EPISODES_PER_PAGE)

    def show_step(self, name: _Name, number: _Number, step: _Step = 0) -> Response:
        """One page of an episode: what was seen, what could be done, what was done and what it earned."""
        recording = self._shelf.episode(name, number)
        last = len(recording.steps)
        step = min(step, last)
        decision = recording.steps[step] if step < last else None
        layout, difference = _shown_page(self._shop, recording, step)
        lines = recorded_lines(observation_at(recording, step), decision.available_actions if decision else ())
        return render(
            "step.html",
            name=name,
            number=number,
            recording=recording,
            step=step,
            last=last,
            decision=decision,
            layout=layout,
            picture=self._pictures.address(layout.asin) if self._pictures and layout else "",
            difference=difference,
            lines=lines,
            choices=_choices(decision) if decision else [],
            chunks=_chunks(decision) if decision else [],
            max_shown=MAX_SHOWN,
            max_characters=MAX_SHOWN_CHARACTERS,
            earned=sum(past.reward for past in recording.steps[:step]),
            neighbours=range(max(0, step - NEIGHBOURS), min(last, step + NEIGHBOURS) + 1),
        )

    def fork(self, request: Request, name: _Name, number: _Number, step: Annotated[int, Form(ge=0)]) -> Response:
        """Open a session at a recorded page, with the recorded steps as its past."""
        recording = self._shelf.episode(name, number)
        if step > len(recording.steps):
            raise RecordingError(f"this episode has pages 0 to {len(recording.steps)}, not {step}")
        trail, state = moments_until(self._shop, recording, step)
        return enter(self._sessions.adopt(state, trail), request)


def observation_at(recording: Recording, step: int) -> str:
    """Return the recorded page before a step, or after the last one."""
    return recording.steps[step].observation if step < len(recording.steps) else recording.final_observation


def moments_until(shop: Shop, recording: Recording, step: int) -> tuple[list[Moment], ShopState]:
    """Return the past of a recorded page, and the state that shows it.

    Raises:
        RecordingError: this shop cannot be brought into the recorded state, or shows another page there.
    """
    goal = state_at(shop, recording, step)
    if not _is_sure(recording, step) and not _shows(shop, goal, observation_at(recording, step)):
        raise RecordingError("this catalogue's page differs from the recorded one, and no snapshot says where it was")
    moments: list[Moment] = []
    state = state_at(shop, recording, 0)
    for past in recording.steps[:step]:
        moments.append((state, past.action))
        state, _ = shop.act(state, past.action)
    if state != goal:
        raise RecordingError("in this shop the recorded actions do not lead to the recorded state")
    return moments, state


def _shown_page(shop: Shop, recording: Recording, step: int) -> tuple[Layout | None, str]:
    """Return the shop's own page, where there is one, and how it differs from the recorded one, in words."""
    try:
        state = state_at(shop, recording, step)
    except RecordingError as error:
        return None, f"The shop's own page cannot be shown: {error}"
    if _shows(shop, state, observation_at(recording, step)):
        return lay_out(shop, state), ""
    if _is_sure(recording, step):
        return lay_out(shop, state), "The recorded text is not this catalogue's page word for word."
    return None, "The recorded page differs from the one this catalogue would show."


def _is_sure(recording: Recording, step: int) -> bool:
    """Whether a snapshot, which names its catalogue, vouches for the state."""
    return any(past.snapshot is not None for past in recording.steps[: step + 1])


def _shows(shop: Shop, state: ShopState, observation: str) -> bool:
    """Whether an observation, of whatever mode and after whatever history, is the page of a state."""
    drawn = [draw(shop.page(state)) for draw in RENDERERS.values()] + [url(state)]
    return any(observation == text or observation.endswith(SEPARATOR + text) for text in drawn)


def _choices(step: RecordedStep) -> list[Choice]:
    """Return the available actions: the likeliest first where probabilities are recorded, else in page order."""
    probabilities = step.probabilities or (None,) * len(step.available_actions)
    choices = [
        Choice(action, probability, action == step.action, action == step.expert_action)
        for action, probability in zip(step.available_actions, probabilities, strict=True)
    ]
    return sorted(choices, key=lambda choice: -(choice.probability or 0.0))


def _chunks(step: RecordedStep) -> list[Chunk]:
    highest = max((chunk.score for chunk in step.attention), default=0.0)
    return [
        Chunk(chunk.text, chunk.score, max(chunk.score / highest, 0.0) if highest > 0 else 0.0, chunk.selected)
        for chunk in step.attention
    ]
