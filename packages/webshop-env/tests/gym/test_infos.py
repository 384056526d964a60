"""Batched infos: what Gymnasium's own method makes of them, at once or joined from parts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from gymnasium.vector import VectorEnv
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env.gym.infos import batch_infos, join_infos

_INFO = st.fixed_dictionaries(
    {},
    optional={
        "reward": st.floats(allow_nan=False),
        "steps": st.integers(-(2**31), 2**31),
        "won": st.booleans(),
        "url": st.text(max_size=5),
        "available_actions": st.fixed_dictionaries({"clickables": st.lists(st.text(max_size=3), max_size=3)}),
        "final_obs": st.text(max_size=5),
    },
)


def gymnasiums(infos: list[dict[str, Any] | None]) -> dict[str, Any]:
    envs: VectorEnv = VectorEnv()
    envs.num_envs = len(infos)
    batched: dict[str, Any] = {}
    for place, info in enumerate(infos):
        if info is not None:
            batched = envs._add_info(batched, info, place)
    return batched


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if isinstance(value, dict):
            assert_same(ours[key], value)
        else:
            assert ours[key].dtype == value.dtype
            assert ours[key].tolist() == value.tolist()


@given(st.lists(st.none() | _INFO, min_size=1, max_size=7), st.data())
def test_a_batch_joined_from_any_parts_is_the_one_that_gymnasium_makes(
    infos: list[dict[str, Any] | None], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(infos) - 1)))) if len(infos) > 1 else []
    bounds = [0, *cuts, len(infos)]
    parts = [infos[start:stop] for start, stop in pairwise(bounds)]
    assert_same(join_infos([(batch_infos(part), len(part)) for part in parts]), gymnasiums(infos))


def test_lists_of_one_length_stay_lists() -> None:
    batched = batch_infos([{"clickables": ["a", "b"]}, {"clickables": ["c", "d"]}])
    assert batched["clickables"].shape == (2,)
    assert batched["clickables"][1] == ["c", "d"]


@pytest.mark.parametrize("infos", [[], [None, None]])
def test_no_infos_make_an_empty_batch(infos: list[None]) -> None:
    assert batch_infos(infos) == {}
    assert join_infos([({}, len(infos)), (batch_infos(infos), len(infos))]) == {}
