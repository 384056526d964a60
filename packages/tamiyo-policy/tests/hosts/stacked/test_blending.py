import pytest
import torch

from sightline.tamiyo_policy.hosts.slots import Operator
from sightline.tamiyo_policy.hosts.stacked.blending import blend, hide

BLENDING = [Operator.MULTIPLY, Operator.GATE]


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.mark.parametrize("operator", BLENDING)
def test_nothing_stays_nothing_under_any_operator(operator):
    x = drawn(2, 8, 3, 5)
    assert not blend(operator, torch.zeros_like(x), x, drawn(2, 9)).any()


def test_addition_blends_nothing():
    with pytest.raises(ValueError, match="does not change a residual"):
        blend(Operator.ADD, drawn(1, 8, 3, 5), drawn(1, 8, 3, 5), drawn(1, 9))


def test_what_is_hidden_is_nothing_even_if_it_is_not_finite_and_gets_the_whole_gradient_if_it_is():
    residual = torch.tensor([[1.0, torch.nan], [torch.inf, -2.0]], requires_grad=True)
    hidden = hide(residual)
    assert torch.equal(hidden, torch.zeros(2, 2))
    (gradient,) = torch.autograd.grad((hidden * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum(), residual)
    assert gradient.tolist() == [[1.0, 0.0], [0.0, 4.0]]
