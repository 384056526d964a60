"""The shop behind OpenEnv's protocol: environment, server application and client.

An observation carries the page, a state carries a snapshot, and `reset(snapshot=...)` restores one: OpenEnv itself
has no message for that. Goals and splits are offered as tasks. The library's browser interface is left out.
"""

from __future__ import annotations

import base64
import binascii
import random
import secrets
import sys
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.webshop_env.adapters.tasks import ShopTasks
from sightline.webshop_env.episodes.episode import Episode, Turn
from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES, decode
from sightline.webshop_env.errors import SnapshotError, WebShopError
from sightline.webshop_env.goals.goals import draw_goal
from sightline.webshop_env.rules.render import render_text, url
from sightline.webshop_env.rules.state import ShopState

# The library imports Gradio for a browser interface that is not offered here, and does without where there is none;
# Gradio takes longer to import than everything else together, and 110 MB.
_HIDE_GRADIO = "gradio" not in sys.modules
if _HIDE_GRADIO:
    sys.modules["gradio"] = None  # ty: ignore[invalid-assignment]  # how Python marks a module that cannot be imported
try:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from openenv.core.client_types import StepResult
    from openenv.core.env_client import EnvClient
    from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
    from openenv.core.env_server.types import EnvironmentMetadata
except ImportError as error:
    raise ImportError(
        "the OpenEnv adapter needs OpenEnv; install it with: pip install 'sightline-webshop-env[openenv]'"
    ) from error
finally:
    if _HIDE_GRADIO:
        del sys.modules["gradio"]

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop

ENVIRONMENT_NAME = "webshop"
"""The environment's name in the paths of the task routes, such as `/webshop/splits`."""

_SHOWN = 80
"""Characters of a wrong name that an error repeats."""

_MAX_SNAPSHOT_CHARACTERS = (MAX_SNAPSHOT_BYTES + 2) // 3 * 4


class WebShopAction(Action):
    """One action."""

    action: str = Field(description="`search[words]` or `click[label]`; anything else changes nothing")


class WebShopObservation(Observation):
    """A page; inherits `done` (bought, or cut short), `reward` (from 0 to 1) and `metadata`."""

    text: str = Field(description="the page, its visible strings joined by ' [SEP] '")
    has_search_bar: bool = Field(description="whether the page has a search bar; searching works on every page")
    clickables: list[str] = Field(description="what can be clicked, in page order")
    url: str = Field(description="the page's address in the original shop")
    instruction: str = Field(description="what to buy")
    valid: bool = Field(default=True, description="whether the page offered the action")
    action_error: str | None = Field(
        default=None, description="why the page did not take the action, and what it would"
    )
    truncated: bool = Field(default=False, description="whether the step limit cut the episode short")
    reward_parts: dict[str, Any] | None = Field(
        default=None, description="after a purchase, what its reward is made of"
    )


class WebShopState(State):
    """Where an episode stands; inherits `episode_id` and `step_count`."""

    goal: int | None = Field(default=None, description="number of the goal; none before the first reset")
    snapshot: str | None = Field(default=None, description="the episode, base64; reset(snapshot=...) goes back to it")


class ResetOptions(BaseModel):
    """What `reset` takes: a snapshot, a goal, a task (split and index), a split to draw from, or nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    """Of the goal drawn and of random results; fresh when None."""
    episode_id: Annotated[str, Field(max_length=255)] | None = None
    """Any name; made up when None."""
    goal: int | None = None
    """Number of a goal."""
    split: str | None = None
    """"test", "dev", "train", "eval" or "train_and_dev"."""
    index: int | None = None
    """Of a task in the split."""
    snapshot: str | None = None
    """What the state held, base64."""

    def check(self) -> None:
        """Refuse combinations that contradict each other.

        Raises:
            ValueError: more than one way to choose, or an index without a split.
        """
        ways = [name for name in ("goal", "split", "snapshot") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"reset takes one of goal, split and snapshot, not {' and '.join(ways)} together")
        if self.index is not None and self.split is None:
            raise ValueError("an index counts in a split: give reset both")


class ShopEnvironment(ShopTasks, Environment[WebShopAction, WebShopObservation, WebShopState]):
    """One client's episode, and the goals of the shop as tasks.

    Args:
        shop: shop in which the episode takes place; any number of environments can share one.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True
    # One thread serves all sessions, in place of one thread for each: a step takes microseconds.
    REQUIRES_SINGLE_THREAD_EXECUTOR = True

    def __init__(self, shop: Shop) -> None:
        ShopTasks.__init__(self, shop.goals)
        Environment.__init__(self)
        self._shop = shop
        self._episode = Episode(shop, goes_on=True)
        self._episode_id: str | None = None

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> WebShopObservation:
        """Open an episode, or go back to a snapshot.

        Args:
            seed: seed of the episode; see `ResetOptions`, as for the others.
            episode_id: any name.
            options: `goal`; `split` and `index`; `split`; or `snapshot`.

        Raises:
            ValueError: unknown, malformed or contradictory arguments.
            GoalError: there is no such goal or task.
            SnapshotError: the snapshot cannot be restored here; the episode stays as it was.
        """
        try:
            wanted = ResetOptions(seed=seed, episode_id=episode_id, **options)
        except ValidationError as error:
            # The library's client shows a message, but not what pydantic has to say.
            first = error.errors(include_url=False)[0]
            where = str(first["loc"][0])[:_SHOWN]
            names = ", ".join(ResetOptions.model_fields)
            raise ValueError(f"reset cannot take {where!r} so: {first['msg']}; it takes {names}") from None
        wanted.check()
        self._episode.move(self._opened(wanted))
        self._episode_id = wanted.episode_id or secrets.token_hex(8)
        return self._observe(None)

    def step(self, action: WebShopAction, timeout_s: float | None = None, **_: Any) -> WebShopObservation:
        """Take an action; there is nothing to time out.

        Raises:
            RuntimeError: before the first reset.
        """
        if not self._episode.begun:
            raise RuntimeError("there is no episode yet: reset first, over a connection that stays open (/ws)")
        return self._observe(self._episode.act(action.action))

    @property
    def state(self) -> WebShopState:
        """Where the episode stands, with a snapshot of it."""
        if not self._episode.begun:
            return WebShopState()
        state = self._episode.state
        snapshot = base64.b64encode(self._episode.snapshot()).decode("ascii")
        return WebShopState(episode_id=self._episode_id, step_count=state.steps, goal=state.goal, snapshot=snapshot)

    def get_metadata(self) -> EnvironmentMetadata:
        """Return what this environment is."""
        return EnvironmentMetadata(
            name=ENVIRONMENT_NAME,
            description="A shop in which an agent searches for, configures and buys what an instruction describes",
            version=version("sightline-webshop-env"),
        )

    def _opened(self, wanted: ResetOptions) -> ShopState:
        if wanted.snapshot is not None:
            return decode(self._shop, _bytes(wanted.snapshot))[0]
        seed = secrets.randbits(32) if wanted.seed is None else wanted.seed
        if wanted.goal is not None:
            return self._shop.start(wanted.goal, seed)
        rng = random.Random(seed)
        if wanted.split is None:
            return self._shop.start(draw_goal(self._shop.goals, rng), seed)
        if wanted.index is None:
            return self._shop.start(rng.choice(self.goals_of(wanted.split)), seed)
        return self._shop.start(self.goal_of(wanted.split, wanted.index), seed)

    def _observe(self, turn: Turn | None) -> WebShopObservation:
        outcome = turn.outcome if turn else None
        state, page = self._episode.state, self._episode.page
        actions = page.available_actions
        return WebShopObservation(
            text=render_text(page),
            has_search_bar=actions["has_search_bar"],
            clickables=actions["clickables"],
            url=url(state),
            instruction=self._episode.instruction,
            valid=outcome is None or outcome.valid,
            action_error=turn.error if turn else None,
            truncated=state.truncated,
            reward_parts=outcome.parts.as_info() if outcome and outcome.parts else None,
            reward=outcome.reward if outcome else None,
            done=state.done or state.truncated,
        )


def _bytes(snapshot: str) -> bytes:
    if len(snapshot) > _MAX_SNAPSHOT_CHARACTERS:
        raise SnapshotError(f"a snapshot has at most {MAX_SNAPSHOT_BYTES:,} bytes")
    try:
        return base64.b64decode(snapshot, validate=True)
    except (binascii.Error, ValueError):
        raise SnapshotError("the snapshot is not base64; was it cut short or changed?") from None


def create_app(shop: Shop, capacity: int = 64) -> FastAPI:
    """Return the library's server over a shop, to run on its own or to mount in another application.

    Every WebSocket connection to `/ws` is one session, which ends with it. The plain routes `/reset` and `/step`
    have no session: each makes an environment of its own, so that only the WebSocket plays an episode.

    Args:
        shop: shop in which all episodes take place.
        capacity: number of sessions that may be open at once; others are refused with `CAPACITY_REACHED`.

    Raises:
        ValueError: the capacity is less than 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity!r}")
    app = create_fastapi_app(
        partial(ShopEnvironment, shop),
        WebShopAction,
        WebShopObservation,
        capacity,
        env_name=ENVIRONMENT_NAME,
        state_cls=WebShopState,
        mode="simulation",
    )
    # Over the WebSocket the library reports errors itself; over plain HTTP it would answer 500.
    for kind in (WebShopError, ValueError, RuntimeError):
        app.add_exception_handler(kind, _refuse)
    return app


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=400)


class ShopClient(EnvClient[WebShopAction, WebShopObservation, WebShopState]):
    """A connection to one session of a server: `ShopClient(base_url="http://host:port/prefix").sync()`."""

    def _step_payload(self, action: WebShopAction) -> dict[str, Any]:
        return action.model_dump()

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[WebShopObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        observation = WebShopObservation(**payload["observation"], reward=reward, done=done)
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> WebShopState:
        return WebShopState(**payload)
