import pytest
import torch

from sightline.tamiyo_policy.hosts.blending import blend
from sightline.tamiyo_policy.hosts.slots import Operator

BLENDING = [Operator.MULTIPLY, Operator.GATE]


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.mark.parametrize("operator", BLENDING)
def test_gradients_of_operators_agree_with_finite_differences(operator, finite_difference_error):
    residual, x, gate = drawn(2, 8, 3, 5), drawn(2, 8, 3, 5).flip(0), drawn(2, 9)
    assert finite_difference_error(lambda *points: blend(operator, *points), residual, x, gate) < 1e-6


@pytest.mark.parametrize("operator", BLENDING)
def test_nothing_stays_nothing_under_any_operator(operator):
    x = drawn(2, 8, 3, 5)
    assert not blend(operator, torch.zeros_like(x), x, drawn(2, 9))[0].any()


def test_addition_blends_nothing():
    with pytest.raises(ValueError, match="does not change a residual"):
        blend(Operator.ADD, drawn(1, 8, 3, 5), drawn(1, 8, 3, 5), drawn(1, 9))
