from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Shop, ShopState, SnapshotError
from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES, SCHEMA_VERSION, _checksum, decode, encode
from sightline.webshop_env.goals import GoalSet

PATH = ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[café]", "click[features]")


def reach(shop: Shop, *actions: str) -> ShopState:
    state = shop.start(0, seed=7)
    for action in actions:
        state, _ = shop.act(state, action)
    return state


@pytest.fixture
def saved(shop: Shop) -> bytes:
    return encode(shop, reach(shop, *PATH))


def forge_history(saved: bytes, action: object, **state: object) -> bytes:
    """The snapshot with one past moment, whose state is the present one with other values, and a checksum that fits."""
    record = json.loads(saved[13:])
    past = {name: value for name, value in (record["state"] | state).items() if value is not ...}
    payload = json.dumps(record | {"history": [{"state": past, "action": action}]}).encode()
    return saved[:5] + _checksum(payload) + payload


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"goal": 3}, "goal 3, but there are only 3"),
        ({"asin": "B0MUG"}, "never opened"),
        ({"options": [["color", "teal"]]}, "'color': 'teal'"),
        ({"reward": 0.5, "done": False}, "a reward of 0.5 without a purchase"),
        ({"kind": "done"}, "without a purchase"),
    ],
)
def test_a_past_that_cannot_have_been_is_refused(
    shop: Shop, saved: bytes, state: dict[str, object], message: str
) -> None:
    assert len(decode(shop, forge_history(saved, "click[red]"))[1]) == 1
    with pytest.raises(SnapshotError, match=message):
        decode(shop, forge_history(saved, "click[red]", **state))


def forge(saved: bytes, **state: object) -> bytes:
    """The snapshot with other values in its state and a checksum that fits."""
    record = json.loads(saved[13:])
    record["state"] = {name: value for name, value in (record["state"] | state).items() if value is not ...}
    payload = json.dumps(record).encode()
    return saved[:5] + _checksum(payload) + payload


LABELS = st.integers(0, 30)
ACTIONS = st.one_of(LABELS, st.sampled_from(["search[lamp]", "search[<r>]", "search[chair é\U0001f600]", "nonsense"]))


@given(st.lists(ACTIONS, max_size=25), st.lists(ACTIONS, max_size=10), st.integers(0, 2))
def test_a_restored_state_is_equal_and_has_the_same_future(
    shop: Shop, past: list[int | str], future: list[int | str], goal: int
) -> None:
    def follow(state: ShopState, actions: list[int | str]) -> list[ShopState]:
        states = [state]
        for action in actions:
            labels = list(shop.page(state).targets) or ["x"]
            state, _ = shop.act(state, action if isinstance(action, str) else f"click[{labels[action % len(labels)]}]")
            states.append(state)
        return states

    states = follow(shop.start(goal, seed=3), past)
    history = tuple(zip(states[:-1], map(str, past), strict=True))[-3:]
    restored, restored_history = decode(shop, encode(shop, states[-1], history))
    assert (restored, restored_history) == (states[-1], history)
    assert follow(restored, future) == follow(states[-1], future)


def test_a_state_in_mid_episode_takes_few_bytes(shop: Shop) -> None:
    words = "i am looking for a dimmable desk lamp of brushed steel with a long cord and two bulbs in warm white"
    state = reach(shop, f"search[{words}]", *PATH[1:])
    state = state._replace(visited=state.visited | {f"B0CHAIR{number:02}" for number in range(10)})
    assert len(encode(shop, state)) <= 600


def test_equal_states_have_equal_snapshots_in_another_process(shop: Shop) -> None:
    code = (
        "import sys; from sightline.webshop_env import *; from sightline.webshop_env.episodes.snapshot import encode;"
        "catalogue = Catalogue.generate(30, 3); shop = Shop(catalogue, build_goals(catalogue, 'synthetic', 3));"
        "state = shop.start(1)\n"
        "for asin in shop.hits(shop.act(state, 'search[<r>]')[0])[:3]:\n"
        "    state, _ = shop.act(state, f'search[<r>]'); state, _ = shop.act(state, f'click[{asin.lower()}]')\n"
        "sys.stdout.buffer.write(encode(shop, state))"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


@pytest.mark.parametrize("garbage", [b"", b"SLWS", b"SLWS\x01", b"hello", b"\x80\x04pickle", b"\x00" * 100])
def test_garbage_is_refused(shop: Shop, garbage: bytes) -> None:
    with pytest.raises(SnapshotError, match="not a snapshot"):
        decode(shop, garbage)


def test_what_is_not_bytes_is_refused(shop: Shop) -> None:
    with pytest.raises(SnapshotError, match="a snapshot is bytes, not str"):
        decode(shop, "SLWS")  # ty: ignore[invalid-argument-type]


def test_an_enormous_snapshot_is_refused_unread(shop: Shop) -> None:
    with pytest.raises(SnapshotError, match="at most"):
        decode(shop, b"SLWS" + b"\x00" * MAX_SNAPSHOT_BYTES)


def test_every_truncation_is_refused(shop: Shop, saved: bytes) -> None:
    for length in range(len(saved)):
        with pytest.raises(SnapshotError):
            decode(shop, saved[:length])


def test_every_flipped_bit_is_refused(shop: Shop, saved: bytes) -> None:
    for position in range(len(saved) * 8):
        damaged = bytearray(saved)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(SnapshotError):
            decode(shop, bytes(damaged))


def test_damage_is_called_damage(shop: Shop, saved: bytes) -> None:
    with pytest.raises(SnapshotError, match="damaged"):
        decode(shop, saved[:-1])


def test_another_version_is_named(shop: Shop, saved: bytes) -> None:
    with pytest.raises(SnapshotError, match=f"schema version 9; this package reads version {SCHEMA_VERSION}"):
        decode(shop, saved[:4] + b"\x09" + saved[5:])


def test_another_catalogue_is_named(shop: Shop, goals: GoalSet, saved: bytes) -> None:
    fewer = Catalogue.from_products([*shop.catalogue][:-1])
    with pytest.raises(SnapshotError, match="other catalogue"):
        decode(Shop(fewer, goals), saved)


@pytest.mark.parametrize("change", [{"seed": 1}, {"kind": "human"}])
def test_other_goals_are_named(shop: Shop, goals: GoalSet, saved: bytes, change: dict[str, object]) -> None:
    with pytest.raises(SnapshotError, match="other goals"):
        decode(Shop(shop.catalogue, replace(goals, **change)), saved)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"goal": 3}, "goal 3, but there are only 3"),
        ({"goal": -1}, "state.goal"),
        ({"goal": "0"}, "state.goal"),
        ({"goal": ...}, "state.goal"),
        ({"goal": True}, "state.goal"),
        ({"kind": "home"}, "state.kind"),
        ({"kind": "search_results"}, "search_results' with product 'B0LAMP'"),
        ({"kind": "done"}, "without a purchase"),
        ({"number": 0}, "state.number"),
        ({"number": 10**400}, "state.number"),
        ({"asin": "B0NONE"}, "product 'B0NONE', which the catalogue does not have"),
        ({"asin": "B0MUG"}, "never opened"),
        ({"asin": ...}, "'Features' with product None"),
        ({"asin": "B0MUG", "visited": ["B0MUG"]}, "'color': 'café', which product 'B0MUG' does not offer"),
        ({"visited": ["B0LAMP", "B0NONE"]}, "B0NONE"),
        ({"visited": "B0LAMP"}, "state.visited"),
        ({"options": [["color", "teal"]]}, "'color': 'teal'"),
        ({"options": [["weight", "red"]]}, "'weight': 'red'"),
        ({"options": [["color", "red"], ["color", "blue"]]}, "two values"),
        ({"options": [["color"]]}, "state.options"),
        ({"query": "a" * 40_000}, "state.query"),
        ({"query": 3}, "state.query"),
        ({"steps": -1}, "state.steps"),
        ({"steps": 1.5}, "state.steps"),
        ({"step_limit": 0}, "state.step_limit"),
        ({"draws": None}, "state.draws"),
        ({"done": 1}, "state.done"),
        ({"reward": 1.01}, "state.reward"),
        ({"reward": float("nan")}, "wrong"),
        ({"kind": "index", "asin": ..., "options": []}, "index page"),
        ({"cheat": 1}, "state.cheat"),
        ({"reward": 0.5, "done": False}, "a reward of 0.5 without a purchase"),
    ],
)
def test_a_state_that_cannot_be_is_refused_by_field(
    shop: Shop, saved: bytes, state: dict[str, object], message: str
) -> None:
    with pytest.raises(SnapshotError, match=message):
        decode(shop, forge(saved, **state))


def test_a_payload_that_is_no_object_is_named_as_a_whole(shop: Shop) -> None:
    payload = b"[]"
    with pytest.raises(SnapshotError, match="'payload' is wrong"):
        decode(shop, b"SLWS" + bytes([SCHEMA_VERSION]) + _checksum(payload) + payload)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_payload_with_a_fitting_checksum_is_read_or_refused(shop: Shop, payload: bytes) -> None:
    with pytest.raises(SnapshotError):
        decode(shop, b"SLWS" + bytes([SCHEMA_VERSION]) + _checksum(payload) + payload)
