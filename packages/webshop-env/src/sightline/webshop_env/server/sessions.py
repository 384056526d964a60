"""Episodes that clients have open: a bounded table of immutable states by unguessable identifiers.

Everything lives in the memory of one process and dies with it. Nothing here knows of HTTP, pages or files.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sightline.webshop_env.episodes.snapshot import Moment, decode
from sightline.webshop_env.errors import WebShopError
from sightline.webshop_env.goals.goals import draw_goal
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import Outcome, ShopState

MAX_TRAIL: Final = 1_000
"""Moments that a recorded session can hold."""

_IDENTIFIER_BYTES = 16
_KEPT_FOR_PEOPLE = 20
"""One place in so many is kept for people."""


class SessionError(WebShopError, LookupError):
    """A session is unknown, closed or expired."""


class CapacityError(WebShopError, RuntimeError):
    """As many sessions are open as the server may hold."""


class TrailError(WebShopError, RuntimeError):
    """A recorded session has no room for another step; its state and its past stay as they are."""


@dataclass(frozen=True, slots=True)
class Session:
    """One client's episode at one time; acting on it makes another record of the same identifier."""

    identifier: str
    """What the client names it by; whoever knows it can act on it."""
    state: ShopState
    """State of the episode."""
    trail: tuple[Moment, ...] | None
    """Past states and the actions taken in them, oldest first; None where they are not recorded."""
    used: float
    """When it was last looked at or acted on, in seconds of the table's clock."""
    client: str | None = None
    """Name of the program that opened it; None for a person's."""


class Sessions:
    """The open sessions of one shop; safe to use from several threads, one operation at a time.

    Sessions that nobody used for `idle_seconds` are dropped at the next operation. An open session costs about half
    a kilobyte, a recorded one as much again for every moment.

    Args:
        shop: shop in which all episodes take place.
        capacity: number of sessions that may be open at once.
        idle_seconds: how long an unused session lives.
        quota: number of sessions that one program may hold; all that programs may when None. One place in twenty is
            kept for people, so that programs cannot lock them out.
        clock: seconds that never go backwards.

    Raises:
        ValueError: for a capacity or quota below 1 or no time at all.
    """

    def __init__(
        self,
        shop: Shop,
        *,
        capacity: int = 10_000,
        idle_seconds: float = 3600.0,
        quota: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        if not idle_seconds > 0:
            raise ValueError(f"idle_seconds must be more than 0, not {idle_seconds!r}")
        if quota is not None and quota < 1:
            raise ValueError(f"quota must be at least 1 or None, not {quota!r}")
        self.shop = shop
        self.capacity = capacity
        self.for_programs = capacity - capacity // _KEPT_FOR_PEOPLE
        self.quota = self.for_programs if quota is None else quota
        self.steps = 0
        self._held: Counter[str] = Counter()
        self.idle_seconds = idle_seconds
        self._clock = clock
        # Ordered by last use, so that whatever has expired stands at the front.
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._drop_expired()
            return len(self._open)

    def create(
        self, goal: int | None = None, seed: int | None = None, *, record: bool = False, client: str | None = None
    ) -> Session:
        """Open a session on the index page.

        Args:
            goal: index into the shop's goals; drawn by weight with the seed when None.
            seed: seed of the draw and of the random results of the query `<r>`; a fresh one of 32 bits when None.
            record: keep the past.
            client: name of the program that asks; None for a person.

        Raises:
            GoalError: if there is no such goal.
            CapacityError: if the table is full, or the program holds as many as it may.
        """
        if seed is None:
            seed = secrets.randbits(32)
        if goal is None:
            goal = draw_goal(self.shop.goals, random.Random(seed))
        return self._add(self.shop.start(goal, seed), () if record else None, client)

    def adopt(self, state: ShopState, trail: Sequence[Moment] | None) -> Session:
        """Open a session at a state of this shop, with the past that led to it, or None not to record.

        Raises:
            TrailError: if the past is longer than `MAX_TRAIL`.
            CapacityError: if the table is full.
        """
        if trail is not None and len(trail) > MAX_TRAIL:
            raise TrailError(f"a session holds at most {MAX_TRAIL:,} past steps, not {len(trail):,}; fork earlier")
        return self._add(state, None if trail is None else tuple(trail))

    def restore(
        self, snapshot: bytes, *, identifier: str | None = None, record: bool = False, client: str | None = None
    ) -> Session:
        """Open a session where a snapshot was taken, or move an open one there.

        Args:
            snapshot: bytes that `encode` returned; any history in it is left out.
            identifier: the session to move; a new one is opened when None.
            record: keep the past, beginning with the restored state.
            client: name of the program that asks; None for a person.

        Raises:
            SnapshotError: if the snapshot cannot be restored here; the session stays as it was.
            SessionError: if there is no such session.
            CapacityError: if the table is full.
        """
        if identifier is not None:
            self.get(identifier)
        state, _ = decode(self.shop, snapshot)
        trail = () if record else None
        if identifier is None:
            return self._add(state, trail, client)
        with self._lock:
            return self._put(replace(self._find(identifier), state=state, trail=trail))

    def get(self, identifier: str) -> Session:
        """Return the session, which counts as used.

        Raises:
            SessionError: if it is unknown, closed or expired.
        """
        with self._lock:
            return self._put(self._find(identifier))

    def act(self, identifier: str, action: str) -> tuple[Session, Outcome]:
        """Take one action.

        Args:
            identifier: name of the session.
            action: `search[words]` or `click[label]`; an invalid one changes nothing but the step count.

        Returns:
            The session after the action, and what the action brought.

        Raises:
            SessionError: if there is no such session.
            TrailError: if a recorded session already holds `MAX_TRAIL` moments; nothing happens then.
        """
        with self._lock:
            session = self._find(identifier)
            trail = session.trail
            if trail is not None:
                if len(trail) >= MAX_TRAIL:
                    raise TrailError(f"this session has recorded {MAX_TRAIL:,} steps, the most it can; open another")
                # Longer actions are invalid whatever they say, and so is what is kept of them.
                trail = (*trail, (session.state, action[: MAX_ACTION_LENGTH + 1]))
            state, outcome = self.shop.act(session.state, action)
            self.steps += 1
            return self._put(replace(session, state=state, trail=trail)), outcome

    def close(self, identifier: str) -> None:
        """Forget a session.

        Raises:
            SessionError: if there is no such session.
        """
        with self._lock:
            self._drop(self._find(identifier).identifier)

    def _add(self, state: ShopState, trail: tuple[Moment, ...] | None, client: str | None = None) -> Session:
        with self._lock:
            self._drop_expired()
            if len(self._open) >= self.capacity or (client is not None and self._held.total() >= self.for_programs):
                raise CapacityError(f"all {self.capacity:,} sessions are in use; close one, or try again later")
            if client is not None:
                if self._held[client] >= self.quota:
                    raise CapacityError(f"one program may hold {self.quota:,} sessions, and this one does; close one")
                self._held[client] += 1
            return self._put(Session(secrets.token_urlsafe(_IDENTIFIER_BYTES), state, trail, 0.0, client))

    def _drop(self, identifier: str) -> None:
        client = self._open.pop(identifier).client
        if client is not None:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    def _find(self, identifier: str) -> Session:
        self._drop_expired()
        try:
            return self._open[identifier]
        except KeyError:
            raise SessionError(
                f"there is no session {identifier[:80]!r}; it was closed, or unused for {self.idle_seconds:g} seconds, "
                "or the server was started again"
            ) from None

    def _put(self, session: Session) -> Session:
        used = replace(session, used=self._clock())
        self._open[session.identifier] = used
        self._open.move_to_end(session.identifier)
        return used

    def _drop_expired(self) -> None:
        oldest_kept = self._clock() - self.idle_seconds
        while self._open and next(iter(self._open.values())).used < oldest_kept:
            self._drop(next(iter(self._open)))
