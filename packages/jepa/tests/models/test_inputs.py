from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sightline.jepa.models.inputs import check_inputs, unit_rows

ROWS = normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@given(length=st.sampled_from([1e-4, 0.5, 1.0, 100.0]))
def test_rows_of_any_floating_type_and_length_become_unit_rows(dtype: torch.dtype, length: float):
    found = unit_rows("question", (ROWS.double() * length).to(dtype), 8)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5), atol=5e-3, rtol=0)
    torch.testing.assert_close(found, ROWS, atol=1e-2, rtol=0)


def test_unit_rows_are_left_as_they_are_whatever_is_beside_them():
    mixed = torch.cat([ROWS, 3 * ROWS])
    assert torch.equal(unit_rows("question", mixed, 8)[:5], ROWS)


def test_rows_that_are_not_needed_become_zeros_even_if_they_are_no_numbers():
    broken = ROWS.clone()
    broken[1], broken[2] = torch.nan, 0
    needed = torch.tensor([True, False, False, True, True])
    found = unit_rows("steering", broken, 8, needed=needed)
    assert torch.equal(found[needed], ROWS[needed])
    assert not found[~needed].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_row_without_a_direction_is_named(dtype: torch.dtype):
    with pytest.raises(ValueError, match="sources, row 3: all zeros"):
        unit_rows("sources", (ROWS * (torch.arange(5) != 3)[:, None]).to(dtype), 8)
    with pytest.raises(ValueError, match="sources, row 2: there are numbers that are not finite"):
        unit_rows("sources", torch.where((torch.arange(5) == 2)[:, None], torch.inf, ROWS).to(dtype), 8)


def test_integers_and_other_shapes_are_refused():
    with pytest.raises(TypeError, match="question must be floating-point numbers"):
        unit_rows("question", torch.ones(2, 8, dtype=torch.int64), 8)
    with pytest.raises(ValueError, match=r"\[n, 8\], not \[2, 4\]"):
        unit_rows("question", torch.ones(2, 4), 8)


def test_the_inputs_of_predictors_are_held_to_their_shapes():
    given_steering = torch.ones(5, dtype=torch.bool)
    check_inputs(ROWS, ROWS[:, :3], given_steering, 8, 3)
    for wrong in ((ROWS, ROWS, given_steering, 8, 3), (ROWS, ROWS[:4], given_steering, 8, None)):
        with pytest.raises(ValueError, match="question and steering"):
            check_inputs(*wrong)
    with pytest.raises(ValueError, match="has_steering must be bool"):
        check_inputs(ROWS, ROWS, given_steering.float(), 8)
