import copy

import pytest
import torch
from torch import nn

from sightline.tamiyo_policy.ppo.flat_adam import FlatAdam


def make_module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(module: nn.Module, number: int) -> torch.Tensor:
    inputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(number))
    return 30 * module(inputs).square().mean()


def values(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_steps_equal_those_of_an_optimiser_of_many_tensors_with_a_clip() -> None:
    module = make_module()
    other = copy.deepcopy(module)
    flat = FlatAdam(module, learning_rate=0.05, max_norm=1.0)
    many = torch.optim.Adam(other.parameters(), lr=0.05, eps=1e-5)
    for number in range(6):
        norm = flat.step(loss_of(module, number))
        many.zero_grad()
        loss_of(other, number).backward()
        expected = nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        many.step()
        assert norm == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(values(module), values(other), atol=1e-6, rtol=1e-4)


def test_a_change_made_by_others_between_steps_is_kept() -> None:
    module = make_module()
    optimiser = FlatAdam(module, learning_rate=1e-3, max_norm=1.0)
    optimiser.step(loss_of(module, 0))
    with torch.no_grad():
        list(module.parameters())[-1].fill_(4.0)
    optimiser.step(loss_of(module, 1))
    torch.testing.assert_close(list(module.parameters())[-1].detach(), torch.full((2,), 4.0), atol=2e-3, rtol=0)


def test_parameters_that_were_given_other_memory_move_as_before() -> None:
    module, other = make_module(), make_module()
    shared = FlatAdam(module, learning_rate=0.05, max_norm=1.0)
    apart = FlatAdam(other, learning_rate=0.05, max_norm=1.0)
    for number in range(3):
        for parameter in list(other.parameters())[number:]:
            parameter.data = parameter.data.clone()
        shared.step(loss_of(module, number))
        apart.step(loss_of(other, number))
        torch.testing.assert_close(values(module), values(other))


def test_two_optimisers_of_one_module_see_what_the_other_does() -> None:
    module = make_module()
    optimisers = [FlatAdam(module, learning_rate=0.05, max_norm=1.0) for _ in range(2)]
    for optimiser in optimisers:
        before = values(module)
        optimiser.step(loss_of(module, 0))
        # The first step of Adam is as long as the learning rate.
        assert float((values(module) - before).abs().max()) == pytest.approx(0.05, rel=1e-2)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    module = make_module()
    optimiser = FlatAdam(module, learning_rate=0.05, max_norm=1.0)
    optimiser.step(loss_of(module, 0))
    before, moments = values(module), copy.deepcopy(optimiser.state_dict())
    for factor in (torch.nan, torch.inf):
        assert not optimiser.step(loss_of(module, 1) * factor) < torch.inf
    assert torch.equal(values(module), before)
    assert torch.equal(optimiser.state_dict()["state"][0]["exp_avg"], moments["state"][0]["exp_avg"])


def test_parameters_that_a_loss_does_not_reach_stay_as_they_are() -> None:
    module = make_module()
    optimiser = FlatAdam(module, learning_rate=0.05, max_norm=1.0)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    optimiser.step(module[0](torch.ones(1, 3)).sum())
    unchanged = [torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True)]
    assert unchanged == [False, False, True, True, True, True]


def test_a_restored_optimiser_goes_on_as_if_it_had_not_stopped() -> None:
    module = make_module()
    optimiser = FlatAdam(module, learning_rate=0.05, max_norm=1.0)
    optimiser.step(loss_of(module, 0))
    other = copy.deepcopy(module)
    resumed = FlatAdam(other, learning_rate=0.05, max_norm=1.0)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    optimiser.step(loss_of(module, 1))
    resumed.step(loss_of(other, 1))
    assert torch.equal(values(module), values(other))


def test_the_state_of_another_module_is_refused() -> None:
    optimiser = FlatAdam(make_module(), learning_rate=0.05, max_norm=1.0)
    other = nn.Linear(2, 2)
    elsewhere = FlatAdam(other, learning_rate=0.05, max_norm=1.0)
    elsewhere.step(other(torch.ones(1, 2)).sum())
    with pytest.raises(RuntimeError, match=r"6 parameters, this one 42"):
        optimiser.load_state_dict(elsewhere.state_dict())
