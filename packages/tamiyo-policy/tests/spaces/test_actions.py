from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.spaces.actions import ActionCodec

LEAVES = st.sampled_from(
    [
        spaces.Discrete(4),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-2, 5]])),
        spaces.MultiBinary([2, 3]),
        spaces.Box(-2, 3, (2, 2), np.float64),
        spaces.Box(0, 3, (2,), np.int32),
        spaces.Box(-1, 1, (), np.float32),
    ]
)
SPACES = st.recursive(
    LEAVES,
    lambda parts: (
        st.lists(parts, min_size=1, max_size=3).map(spaces.Tuple)
        | st.dictionaries(st.sampled_from("abc"), parts, min_size=1, max_size=3).map(spaces.Dict)
    ),
    max_leaves=5,
)


@given(space=SPACES, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_any_choices_are_actions_of_the_space(space: gymnasium.Space, seed: int) -> None:
    codec = ActionCodec(space)
    choices = np.random.default_rng(seed).integers(codec.heads.sizes, size=(3, len(codec.heads.sizes)))
    assert batch_space(space, 3).contains(codec.taken(choices))
    assert space.contains(codec.single(choices[:1]))


@pytest.mark.parametrize(
    ("space", "choices", "expected"),
    [
        (spaces.Discrete(3, start=-1), [[0], [2]], [-1, 1]),
        (spaces.MultiDiscrete([2, 5], start=[10, 20]), [[1, 4]], [[11, 24]]),
        (spaces.MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (spaces.Box(-2.0, 2.0, (2,)), [[0, 10], [5, 3]], [[-2.0, 2.0], [0.0, -0.8]]),
        (spaces.Box(0, 3, (1,), np.uint8), [[0], [3]], [[0], [3]]),
    ],
)
def test_choices_mean_what_they_should(space: gymnasium.Space, choices: list, expected: list) -> None:
    assert np.allclose(ActionCodec(space).taken(np.array(choices)), expected)


def test_discrete_becomes_one_head_and_others_numbered_ones() -> None:
    assert (ActionCodec(spaces.Discrete(5)).heads.names, ActionCodec(spaces.Discrete(5)).heads.op_head) == (
        ("action",),
        None,
    )
    assert ActionCodec(spaces.MultiDiscrete([2, 7])).heads.names == ("action_0", "action_1")
    nested = spaces.Dict({"left": spaces.Discrete(2), "right": spaces.Box(0, 1, (2,))})
    heads = ActionCodec(nested, bins=3).heads
    assert (heads.names, heads.sizes) == (("action_0", "action_1", "action_2"), (2, 3, 3))
    assert heads.relevance.tolist() == [[True, True, True]]


def test_a_box_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"action\['push'\] is Box.*no bounds"):
        ActionCodec(spaces.Dict({"push": spaces.Box(-np.inf, np.inf, (1,))}))


def test_other_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="action is Text"):
        ActionCodec(spaces.Text(3))


def test_heads_that_do_not_fit_the_space_are_refused() -> None:
    with pytest.raises(ValueError, match=r"heads of \(3,\) choices, the action space \(2,\)"):
        ActionCodec(spaces.Discrete(2), heads=FactoredActionSpace.independent(("action",), (3,)))
