from __future__ import annotations

import random
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import GoalError, Shop, SnapshotError, WebShopError
from sightline.webshop_env.episodes.snapshot import encode
from sightline.webshop_env.goals.goals import draw_goal
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH
from sightline.webshop_env.server.sessions import (
    MAX_TRAIL,
    CapacityError,
    SessionError,
    Sessions,
    TrailError,
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(shop: Shop, clock: Clock) -> Sessions:
    return Sessions(shop, capacity=3, idle_seconds=60, clock=clock)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(
            ["search[lamp]", "search[<r>]", "click[b0lamp]", "click[red]", "click[buy now]", "click[next >]", "?"]
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_interleaved_sessions_go_as_each_would_alone(shop: Shop, steps: list[tuple[int, str]]) -> None:
    sessions = Sessions(shop)
    names = [sessions.create(goal, seed=goal).identifier for goal in range(3)]
    alone = [shop.start(goal, goal) for goal in range(3)]
    for which, action in steps:
        session, outcome = sessions.act(names[which], action)
        alone[which], expected = shop.act(alone[which], action)
        assert (session.state, outcome) == (alone[which], expected)
    assert [sessions.get(name).state for name in names] == alone


def test_a_goal_is_drawn_by_weight_with_the_seed(shop: Shop) -> None:
    sessions = Sessions(shop)
    drawn = [sessions.create(seed=seed).state.goal for seed in range(50)]
    assert drawn == [draw_goal(shop.goals, random.Random(seed)) for seed in range(50)]
    assert len(Counter(drawn)) == 3


def test_without_a_seed_every_session_has_its_own(shop: Shop) -> None:
    sessions = Sessions(shop)
    assert len({sessions.create(0).state.seed for _ in range(20)}) == 20


def test_a_goal_that_is_not_there_opens_nothing(sessions: Sessions) -> None:
    with pytest.raises(GoalError, match="numbered 0 to 2"):
        sessions.create(3)
    assert len(sessions) == 0


def test_identifiers_are_long_and_distinct(shop: Shop) -> None:
    sessions = Sessions(shop)
    names = {sessions.create(0).identifier for _ in range(1000)}
    assert len(names) == 1000
    assert min(map(len, names)) >= 22  # 128 bits in base64


def test_a_full_table_refuses_and_a_closed_session_makes_room(sessions: Sessions) -> None:
    names = [sessions.create(0).identifier for _ in range(3)]
    with pytest.raises(CapacityError, match="all 3 sessions"):
        sessions.create(0)
    sessions.close(names[1])
    sessions.create(0)
    with pytest.raises(SessionError):
        sessions.get(names[1])
    assert len(sessions) == 3


@pytest.mark.parametrize("use", ["get", "act", "close"])
def test_an_unknown_session_is_named_within_bounds(sessions: Sessions, use: str) -> None:
    arguments = ("x" * 500, "?") if use == "act" else ("x" * 500,)
    with pytest.raises(SessionError, match="there is no session 'xxx") as caught:
        getattr(sessions, use)(*arguments)
    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, WebShopError)


def test_only_sessions_unused_for_the_idle_time_expire(sessions: Sessions, clock: Clock) -> None:
    looked, acted, left = (sessions.create(0).identifier for _ in range(3))
    clock.now += 40
    sessions.get(looked)
    sessions.act(acted, "?")
    clock.now += 40
    assert len(sessions) == 2
    assert sessions.get(looked).used == clock.now
    with pytest.raises(SessionError, match="unused for 60 seconds"):
        sessions.get(left)
    clock.now += 61
    assert len(sessions) == 0


def test_an_expired_session_makes_room_in_a_full_table(sessions: Sessions, clock: Clock) -> None:
    for _ in range(3):
        sessions.create(0)
    clock.now += 61
    sessions.create(0)
    assert len(sessions) == 1


def test_a_recorded_session_keeps_its_past_and_another_does_not(shop: Shop, sessions: Sessions) -> None:
    recorded, plain = sessions.create(0, 1, record=True), sessions.create(0, 1)
    actions = ["search[lamp]", "click[b0lamp]", "nonsense"]
    past, state = [], shop.start(0, 1)
    for action in actions:
        past.append((state, action))
        state, _ = shop.act(state, action)
        sessions.act(recorded.identifier, action)
        sessions.act(plain.identifier, action)
    assert sessions.get(recorded.identifier).trail == tuple(past)
    assert sessions.get(plain.identifier).trail is None


def test_a_full_recording_refuses_the_step_and_keeps_everything(sessions: Sessions) -> None:
    name = sessions.create(0, record=True).identifier
    for _ in range(MAX_TRAIL):
        sessions.act(name, "?")
    before = sessions.get(name)
    with pytest.raises(TrailError, match="1,000 steps"):
        sessions.act(name, "search[lamp]")
    after = sessions.get(name)
    assert (after.state, after.trail) == (before.state, before.trail)


def test_an_overlong_action_is_as_invalid_in_the_recording_as_it_was(shop: Shop, sessions: Sessions) -> None:
    name = sessions.create(0, record=True).identifier
    sessions.act(name, "search[lamp]" + "!" * 10 * MAX_ACTION_LENGTH)
    trail = sessions.get(name).trail
    assert trail is not None
    ((state, action),) = trail
    assert len(action) == MAX_ACTION_LENGTH + 1
    assert shop.act(state, action)[0] == sessions.get(name).state == shop.act(state, "invalid")[0]


def test_a_past_can_be_adopted_and_played_on(shop: Shop, sessions: Sessions) -> None:
    start = shop.start(0, 1)
    searched, _ = shop.act(start, "search[lamp]")
    forked = sessions.adopt(searched, [(start, "search[lamp]")])
    after, _ = sessions.act(forked.identifier, "click[b0lamp]")
    assert after.trail == ((start, "search[lamp]"), (searched, "click[b0lamp]"))
    assert sessions.adopt(searched, None).trail is None
    with pytest.raises(TrailError, match="fork earlier"):
        sessions.adopt(searched, [(start, "?")] * (MAX_TRAIL + 1))


def test_a_snapshot_opens_a_session_or_moves_one(shop: Shop, sessions: Sessions) -> None:
    state, _ = shop.act(shop.start(0, 1), "search[lamp]")
    saved = encode(shop, state, [(shop.start(0, 1), "search[lamp]")])
    assert sessions.restore(saved).state == state
    name = sessions.create(1, record=True).identifier
    moved = sessions.restore(saved, identifier=name, record=True)
    assert (moved.identifier, moved.state, moved.trail) == (name, state, ())
    assert sessions.get(name).state == state
    assert len(sessions) == 2


def test_a_snapshot_that_does_not_fit_changes_nothing(sessions: Sessions) -> None:
    name = sessions.create(1, record=True).identifier
    sessions.act(name, "search[mug]")
    before = sessions.get(name)
    with pytest.raises(SnapshotError):
        sessions.restore(b"garbage", identifier=name)
    with pytest.raises(SnapshotError):
        sessions.restore(b"garbage")
    assert (sessions.get(name).state, sessions.get(name).trail, len(sessions)) == (before.state, before.trail, 1)


def test_a_snapshot_cannot_bring_back_a_closed_session(shop: Shop, sessions: Sessions) -> None:
    name = sessions.create(0).identifier
    saved = encode(shop, sessions.get(name).state)
    sessions.close(name)
    with pytest.raises(SessionError):
        sessions.restore(saved, identifier=name)


@pytest.mark.parametrize("limits", [{"capacity": 0}, {"idle_seconds": 0}, {"idle_seconds": float("nan")}])
def test_limits_that_make_no_sense_are_refused(shop: Shop, limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sessions(shop, **limits)  # ty: ignore[invalid-argument-type]  (a float for capacity is the point)


def test_ten_thousand_sessions_in_mid_episode_take_less_than_50_megabytes(shop: Shop) -> None:
    state = shop.start(0)
    for action in ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[features]"):
        state, _ = shop.act(state, action)
    sessions = Sessions(shop)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(10_000):
            # Restored states share nothing with one another, not even the names of options.
            sessions.restore(encode(shop, state._replace(query=f"a dimmable lamp of steel for desk number {number}")))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sessions) == 10_000
    assert 1e6 < after - before < 50e6
