from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.spaces.observations import ObservationEncoder

LEAVES = st.sampled_from(
    [
        spaces.Box(-1, 1, (3,)),
        spaces.Box(-1, 1, ()),
        spaces.Box(0, 255, (9, 8, 3), np.uint8),
        spaces.Discrete(4),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-2, 5]])),
        spaces.MultiBinary(4),
        spaces.MultiBinary([2, 3]),
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


def batch(space: gymnasium.Space, count: int, seed: int = 0) -> tuple[list, object]:
    space.seed(seed)
    items = [space.sample() for _ in range(count)]
    return items, concatenate(space, items, create_empty_array(space, count))


@given(space=SPACES, count=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_rows_are_what_gymnasium_flattens_each_observation_to(space: gymnasium.Space, count: int) -> None:
    encoder = ObservationEncoder(space)
    items, together = batch(space, count)
    expected = np.array([spaces.utils.flatten(space, item) for item in items], np.float32)
    assert np.array_equal(encoder.rows(together), expected)
    assert encoder.size == expected.shape[1] == len(encoder.continuous)
    assert not encoder.is_single(together)
    for item, row in zip(items, expected, strict=True):
        assert encoder.is_single(item)
        assert np.array_equal(encoder.single_row(item)[0], row)


@given(space=SPACES)
@settings(max_examples=20, deadline=None)
def test_chosen_rows_come_from_batches_and_from_arrays_of_single_observations(space: gymnasium.Space) -> None:
    encoder = ObservationEncoder(space)
    items, together = batch(space, 3)
    single = np.full(3, None, dtype=object)
    single[:] = [items[0], None, items[2]] if not isinstance(space, spaces.Tuple) else single
    if isinstance(space, spaces.Tuple):
        single[0], single[2] = items[0], items[2]
    chosen = np.array([0, 2])
    assert np.array_equal(encoder.chosen_rows(together, chosen), encoder.rows(together)[chosen])
    assert np.array_equal(encoder.chosen_rows(single, chosen), encoder.rows(together)[chosen])


def test_only_numbers_may_be_standardised_and_only_pixels_are_images() -> None:
    parts: dict[str, gymnasium.Space] = {
        "a": spaces.Box(-1, 1, (2,)),
        "b": spaces.Discrete(3),
        "c": spaces.Box(0, 255, (3, 12, 9), np.uint8),
        "d": spaces.Box(0, 255, (4,), np.uint8),
        "e": spaces.Box(0, 1, (8, 8), np.float32),
    }
    encoder = ObservationEncoder(spaces.Dict(parts))
    (image,) = encoder.images
    assert (image.start, image.height, image.width, image.channels, image.channels_last) == (5, 12, 9, 3, False)
    assert encoder.continuous.tolist() == [True] * 2 + [False] * 3 + [False] * 324 + [True] * 4 + [True] * 64


def test_a_choice_out_of_range_is_named_with_its_environment() -> None:
    encoder = ObservationEncoder(spaces.Dict({"card": spaces.Discrete(3, start=1)}))
    with pytest.raises(ValueError, match=r"observation\['card'\] goes from 1 to 3, environment 1 says 4"):
        encoder.rows({"card": np.array([1, 4])})


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"observation must have shape \[B, \[3\]\], not \[2, 2\]"):
        ObservationEncoder(spaces.Box(-1, 1, (3,))).rows(np.zeros((2, 2)))


@pytest.mark.parametrize("part", [spaces.Text(5), spaces.Sequence(spaces.Discrete(2))])
def test_parts_of_no_fixed_size_are_refused_by_their_path(part: gymnasium.Space) -> None:
    with pytest.raises(TypeError, match=r"observation\[1\]\['x'\] is"):
        ObservationEncoder(spaces.Tuple([spaces.Discrete(2), spaces.Dict({"x": part})]))


def test_the_batch_of_a_vector_environment_fits() -> None:
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(0, 1, (1,))])})
    batched = batch_space(space, 4)
    batched.seed(0)
    assert ObservationEncoder(space).rows(batched.sample()).shape == (4, 5)
