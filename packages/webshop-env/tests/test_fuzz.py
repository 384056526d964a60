"""Random bytes and random actions: nothing crashes, hangs or leads to a state that cannot be."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, SnapshotError, WebShopEnv, build_goals
from sightline.webshop_env.episodes.snapshot import _HEADER_BYTES, _checksum, decode, encode
from sightline.webshop_env.rules import PageKind
from sightline.webshop_env.rules.render import RENDERERS, url
from sightline.webshop_env.rules.state import SUB_PAGES

Forge: TypeAlias = Callable[[random.Random, list[bytes]], bytes]

ON_PRODUCT = {PageKind.ITEM, PageKind.DONE, *SUB_PAGES}
TEXTS = ("", "a", "<r>", "<a> steel", '"', "\x00\x1b[2J", "İ\u0301\U0001f600", "</script>", "B0LAMP", "x" * 300, "[[]]")


@pytest.fixture(scope="module", params=["by hand", "generated"])
def stores(request: pytest.FixtureRequest, shop: Shop) -> Shop:
    if request.param == "by hand":
        return shop
    catalogue = Catalogue.generate(200, seed=5)
    return Shop(catalogue, build_goals(catalogue, "synthetic", 1))


def walk(shop: Shop, rng: random.Random, steps: int) -> Iterator[tuple[ShopState, str]]:
    """A random episode, in which most actions are possible."""
    state = shop.start(rng.randrange(len(shop.goals)), rng.randrange(1 << 32))
    for _ in range(steps):
        labels = list(shop.page(state).targets)
        words = " ".join(rng.choices(shop.goal(state).instruction_text.split(), k=3))
        wanted = f"click[{rng.choice(labels)}]" if labels and rng.random() < 0.8 else f"search[{words}]"
        action = rng.choice(["search[<r>]", "nonsense"]) if rng.random() < 0.05 else wanted
        yield state, action
        state, _ = shop.act(state, action)


def assert_possible(shop: Shop, state: ShopState) -> None:
    """The page renders, the state survives its own snapshot, and its parts fit together and to the catalogue."""
    page = shop.page(state)
    assert all(isinstance(render(page), str) for render in RENDERERS.values())
    assert url(state).startswith("http://127.0.0.1:3000/")
    assert decode(shop, encode(shop, state)) == (state, ())
    assert 0 <= state.goal < len(shop.goals)
    assert min(state.number - 1, state.steps, state.draws) >= 0
    assert 0.0 <= state.reward <= 1.0
    assert state.done or not state.reward
    assert state.done or state.kind is not PageKind.DONE
    assert (state.asin is not None) == (state.kind in ON_PRODUCT)
    assert all(asin in shop.catalogue for asin in state.visited)
    assert state.asin is None or state.asin in state.visited
    offered = {} if state.asin is None else shop.catalogue[state.asin].options
    assert all(value in offered.get(group, ()) for group, value in state.options)
    assert len(dict(state.options)) == len(state.options)
    assert state.kind is not PageKind.INDEX or (state.query, state.number, state.visited) == ("", 1, frozenset())
    for label in list(page.targets)[:2]:
        after, _ = shop.act(state, f"click[{label}]")
        assert after.steps == state.steps + 1
        shop.page(after)


def random_bytes(rng: random.Random, _: list[bytes]) -> bytes:
    head = rng.choice([b"", b"SLWS", b"SLWS\x01"])
    return head + rng.randbytes(rng.choice([0, 1, 8, 40, 300]))


def damaged(rng: random.Random, valid: list[bytes]) -> bytes:
    """Flipped, cut, spliced, repeated or padded."""
    snapshot = bytearray(rng.choice(valid))
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 2, 10])):
            snapshot[rng.randrange(len(snapshot))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        start, stop = sorted(rng.choices(range(len(snapshot) + 1), k=2))
        del snapshot[start:stop]
    elif kind == 2:
        other = rng.choice(valid)
        snapshot[rng.randrange(len(snapshot)) :] = other[rng.randrange(len(other)) :]
    elif kind == 3:
        snapshot *= 2
    else:
        place = rng.randrange(len(snapshot))
        snapshot[place:place] = rng.randbytes(3)
    return bytes(snapshot)


def sealed(head: bytes, payload: bytes) -> bytes:
    """A snapshot whose checksum fits."""
    return head[: _HEADER_BYTES - 8] + _checksum(payload) + payload


def damaged_but_sealed(rng: random.Random, valid: list[bytes]) -> bytes:
    whole = rng.choice(valid)
    return sealed(whole, damaged(rng, [snapshot[_HEADER_BYTES:] for snapshot in rng.choices(valid, k=2)]))


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth > 2 else 9)
    if kind == 7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return {rng.choice(TEXTS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    numbers = (0, -1, 1, 2, 50, 2**31, 2**53 - 1, 2**53, 2**63, 10**400, True, None)
    floats = (0.5, -0.0, 1e308, float("nan"), float("inf"))
    kinds = ("index", "search_results", "item_page", "Features", "Reviews", "done", "Done")
    return rng.choice((numbers, floats, TEXTS, kinds)[kind % 4])


def mutated_fields(rng: random.Random, valid: list[bytes]) -> bytes:
    """Other values in some fields, whole fields of other states, histories; the checksum fits."""
    whole = rng.choice(valid)
    record, other = (json.loads(snapshot[_HEADER_BYTES:]) for snapshot in (whole, rng.choice(valid)))
    if rng.random() < 0.1:
        record["history"] = [{"state": other["state"], "action": value(rng)} for _ in range(rng.randrange(4))]
    place = record if rng.random() < 0.1 else record["state"]
    names = [*ShopState.__slots__, "history", "cheat"]
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = rng.choice(names)
        if rng.random() < 0.2:
            place.pop(name, None)
        elif rng.random() < 0.4 and name in other["state"]:
            place[name] = copy.deepcopy(other["state"][name])
        else:
            place[name] = value(rng)
    return sealed(whole, json.dumps(record).encode("ascii"))


FORGERIES: tuple[Forge, ...] = (damaged_but_sealed, mutated_fields)


def fuzz_snapshots(shop: Shop, count: int, seed: int) -> dict[Forge, int]:
    """Feed random snapshots to one environment; returns how many of each kind it took."""
    rng = random.Random(seed)
    moments = [moment for _ in range(30) for moment in walk(shop, rng, 20)]
    valid = [encode(shop, state, moments[:1] * rng.randrange(2)) for state, _ in moments]
    env = WebShopEnv(shop=shop, previous_actions=1, previous_observations=1)
    env.restore(valid[0])
    taken: dict[Forge, int] = {}
    for _ in range(count):
        make = rng.choice((random_bytes, damaged, *FORGERIES, mutated_fields))
        snapshot = make(rng, valid)
        before, shown = env.state, env.snapshot()
        try:
            observation = env.restore(snapshot)
        except SnapshotError:
            assert env.state is before
            assert env.snapshot() == shown
            continue
        taken[make] = taken.get(make, 0) + 1
        assert make in FORGERIES or snapshot in valid
        assert isinstance(observation, str)
        assert_possible(shop, env.state)
        env.restore(rng.choice(valid))
    return taken


def random_action(rng: random.Random, likely: str) -> str:
    kind = rng.randrange(7)
    odd = ("\x00\x07\x1b\x7f\x85\n\r\t\u2028", "aé\u0301ß\u0130Σ漢\U0001f600\u200d\ufe0f", "\ud800\udfff[]")
    alphabet = rng.choice(("[]search click", *odd))
    noise = "".join(rng.choices(alphabet, k=rng.randrange(12)))
    if kind == 0:
        return noise
    if kind == 1:
        return rng.choice(["search[", "click[", "buy[", "["]) + noise + rng.choice(["]", "", "]]", "]\nclick[x]"])
    if kind == 2:
        place = rng.randrange(len(likely) + 1)
        return likely[:place] + noise + likely[place:]
    if kind == 3:
        characters = list(likely)
        characters[rng.randrange(len(characters))] = chr(rng.choice([0, 32, 91, 93, 0x130, 0xD800, 0x1F600, 0x10FFFF]))
        return "".join(characters)
    if kind == 4:
        return rng.choice([likely.upper(), likely.title(), likely[::-1], likely * 2, f" {likely} ", f"click[{likely}]"])
    if kind == 5:
        return f"search[{noise}{' '.join(rng.choices(TEXTS, k=rng.randrange(1, 6)))}]"
    return likely


def long_action(rng: random.Random) -> str:
    unit = rng.choice(["a", "[", "]", "漢", "a ", "é.", "1,", "\u0301", "\U0001f600\u200d", "steel-", "a'", "_"])
    length = rng.choice([9_990, 10_000, 20_000])
    return f"{rng.choice(['search', 'click'])}[{(unit * length)[:length]}]"


def fuzz_actions(shop: Shop, count: int, seed: int) -> int:
    """Take random actions in random episodes; returns how many of them did something."""
    rng = random.Random(seed)
    env = WebShopEnv(shop=shop, steps_after_end="allow")
    done, worked = 0, 0
    while done < count:
        for state, likely in walk(shop, rng, 20):
            env.restore(encode(shop, state))
            action = long_action(rng) if rng.random() < 0.002 else random_action(rng, likely)
            observation, reward, terminated, truncated, info = env.step(action)
            after, outcome = shop.act(state, action)
            assert env.state == after
            assert (reward, terminated) == (outcome.reward, outcome.done)
            assert not truncated
            assert outcome.valid or after == state._replace(steps=state.steps + 1)
            assert isinstance(observation, str)
            assert json.dumps(info["available_actions"]).encode("ascii")
            assert_possible(shop, after)
            worked += outcome.valid
            done += 1
    return worked


def test_random_snapshots_are_refused_or_lead_to_possible_states(stores: Shop) -> None:
    taken = fuzz_snapshots(stores, 3_000, seed=0)
    assert taken[mutated_fields] > 100


def test_random_actions_lead_to_possible_states(stores: Shop) -> None:
    assert 100 < fuzz_actions(stores, 1_000, seed=0) < 900


@pytest.mark.slow
def test_half_a_million_random_snapshots_a_shop(stores: Shop) -> None:
    assert fuzz_snapshots(stores, 500_000, seed=1)[mutated_fields] > 10_000


@pytest.mark.slow
def test_fifty_thousand_random_actions_a_shop(stores: Shop) -> None:
    assert fuzz_actions(stores, 50_000, seed=1) > 5_000
