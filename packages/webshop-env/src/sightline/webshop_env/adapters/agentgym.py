"""AgentGym's HTTP routes: integer-numbered environments of the original's class, created and stepped over JSON.

AgentGym's own client and AgentGym-RL's rollouts speak them; `training_items` makes the items of the latter.

The number of environments is bounded; whoever knows an environment's number can act on it, so the numbers are drawn at
random. Authentication is for the application that includes the router.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from sightline.webshop_env.adapters.classic import SimServer, WebAgentTextEnv
from sightline.webshop_env.errors import GoalError

try:
    from fastapi import APIRouter, HTTPException
except ImportError as error:
    raise ImportError(
        "AgentGym's routes need FastAPI; install it with: pip install 'sightline-webshop-env[server]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.webshop_env.rules.shop import Shop

_NUMBERS: Final = 1 << 31


class ResetQuery(BaseModel):
    """Opens an episode; `session_id` is a goal's index, or None to have one drawn."""

    env_idx: int
    session_id: int | None = None


class StepQuery(BaseModel):
    """Takes an action."""

    env_idx: int
    action: str


class CloseQuery(BaseModel):
    """Gives an environment up."""

    env_idx: int


class StepResponse(BaseModel):
    """What an action brought; `state` is the observation."""

    state: str
    reward: float
    done: bool
    info: None = None


class AvailableActionsResponse(BaseModel):
    """What the page offers."""

    has_search_bar: bool
    clickables: list[str]


class StateResponse(BaseModel):
    """The page's address and markup, and the instruction."""

    url: str
    html: str
    instruction_text: str


class CloseResponse(BaseModel):
    """Whether there was an environment to close."""

    closed: bool


class Environments:
    """The open environments by number, the one used longest ago first.

    Args:
        shop: shop in which all episodes take place.
        capacity: number of environments that may be open at once.
        idle_seconds: seconds after which, when there is no room, unused environments make place for others.

    Raises:
        ValueError: the capacity is less than 1.
    """

    def __init__(self, shop: Shop, capacity: int, idle_seconds: float) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self._server = SimServer(shop)
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._open: OrderedDict[int, tuple[WebAgentTextEnv, float]] = OrderedDict()

    def numbers(self) -> list[int]:
        """Return the numbers of the open environments."""
        return list(self._open)

    def create(self) -> int:
        """Open an environment with a drawn goal, and return its number; 503 where all are in use."""
        if len(self._open) >= self._capacity:
            oldest, (_, used) = next(iter(self._open.items()))
            if time.monotonic() - used < self._idle_seconds:
                raise HTTPException(
                    503, f"all {self._capacity:,} environments are in use; close one, or try again later"
                )
            self.close(oldest)
        number = secrets.randbelow(_NUMBERS)
        while number in self._open:
            number = secrets.randbelow(_NUMBERS)
        # Unseeded, as the goals of sessions without an index are anybody's.
        environment = WebAgentTextEnv(
            "text", server=self._server, session_prefix=f"{number}-", seed=secrets.randbits(32)
        )
        self._open[number] = (environment, time.monotonic())
        return number

    def get(self, number: int) -> WebAgentTextEnv:
        """Return the environment of a number, which counts as used; 404 where there is none."""
        if number not in self._open:
            raise HTTPException(404, f"there is no environment {number}: it was never created, or has been closed")
        environment, _ = self._open.pop(number)
        self._open[number] = (environment, time.monotonic())
        return environment

    def close(self, number: int) -> bool:
        """Give an environment up; False where there is none."""
        environment, _ = self._open.pop(number, (None, 0.0))
        if environment is not None:
            environment.close()
        return environment is not None


def create_router(shop: Shop, *, capacity: int = 1000, idle_seconds: float = 1800.0) -> APIRouter:
    """AgentGym's routes over a shop, for `FastAPI().include_router(...)`.

    Args:
        shop: shop in which all episodes take place.
        capacity: number of environments that may be open at once.
        idle_seconds: seconds after which, when there is no room, unused environments make place for others, since
            clients that die never close theirs.

    Raises:
        ValueError: the capacity is less than 1.
    """
    router = APIRouter(tags=["AgentGym"])
    environments = Environments(shop, capacity, idle_seconds)

    # The handlers are coroutines, so that all run in one thread, one after the other.
    @router.get("/")
    async def ok() -> str:
        return "ok"

    @router.get("/list_envs")
    async def list_envs() -> list[int]:
        return environments.numbers()

    @router.post("/create")
    async def create() -> int:
        return environments.create()

    @router.post("/reset")
    async def reset(query: ResetQuery) -> tuple[str, None]:
        environment = environments.get(query.env_idx)
        try:
            return environment.reset(session=query.session_id)
        except GoalError as error:
            raise HTTPException(404, str(error)) from None

    @router.post("/step")
    async def step(query: StepQuery) -> StepResponse:
        observation, reward, done, _ = environments.get(query.env_idx).step(query.action)
        return StepResponse(state=observation, reward=reward, done=done)

    @router.post("/close")
    async def close(query: CloseQuery) -> CloseResponse:
        return CloseResponse(closed=environments.close(query.env_idx))

    _add_views(router, environments)
    return router


def _add_views(router: APIRouter, environments: Environments) -> None:
    """Return the routes that show an environment and change nothing."""

    @router.get("/available_actions")
    async def available_actions(env_idx: int) -> AvailableActionsResponse:
        return AvailableActionsResponse(**environments.get(env_idx).get_available_actions())

    @router.get("/observation")
    async def observation(env_idx: int) -> str:
        return environments.get(env_idx).observation

    @router.get("/instruction_text")
    async def instruction_text(env_idx: int) -> str:
        return environments.get(env_idx).get_instruction_text()

    @router.get("/state")
    async def state(env_idx: int) -> StateResponse:
        return StateResponse(**environments.get(env_idx).state)


def training_items(goals: Iterable[int]) -> list[dict[str, str]]:
    """Return the items of AgentGym-RL's data files: its rollouts reset an environment to the number in an item's name.

    Args:
        goals: their numbers in the shop that the routes serve.
    """
    return [{"item_id": f"webshop_{goal}"} for goal in goals]
