from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import normalize

from sightline.jepa.config import EMAConfig
from sightline.jepa.models.projection import SharedProjection
from sightline.jepa.models.target import EMAEncoder, FrozenTarget, average_into, tau_at

CONFIG = EMAConfig()
ROWS = normalize(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), dim=1)


class WithBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.seen: torch.Tensor
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.linear(vectors)


def weight(module: nn.Module, layer: str) -> torch.Tensor:
    return module.get_parameter(f"{layer}.weight")


def test_tau_goes_from_start_to_end_by_a_cosine():
    assert tau_at(0, 100, CONFIG) == pytest.approx(0.996)
    assert tau_at(50, 100, CONFIG) == pytest.approx(0.9975)
    assert tau_at(25, 100, CONFIG) == pytest.approx(0.999 - 0.003 * (1 + math.cos(math.pi / 4)) / 2)
    assert tau_at(100, 100, CONFIG) == pytest.approx(0.999)


@given(st.integers(0, 500), st.integers(-2, 300))
def test_tau_stays_within_its_bounds_and_never_falls(step: int, total: int):
    assert CONFIG.tau_start <= tau_at(step, total, CONFIG) <= tau_at(step + 1, total, CONFIG) <= CONFIG.tau_end


def test_the_target_is_the_weighted_mean_of_old_target_and_online():
    encoder = EMAEncoder(WithBuffer(), EMAConfig(tau_start=0.75, tau_end=0.75))
    before = weight(encoder.target_encoder, "linear").clone()
    with torch.no_grad():
        weight(encoder.online_encoder, "linear").add_(1.0)
    assert encoder.update(1, 10) == 0.75
    torch.testing.assert_close(weight(encoder.target_encoder, "linear"), before + 0.25)


def test_buffers_are_synchronised():
    online, target = WithBuffer(), WithBuffer()
    online.seen.fill_(7.0)
    average_into(target, online, 0.99)
    assert target.seen == 7.0


def test_the_target_takes_no_gradient_and_stays_in_evaluation_mode():
    encoder = EMAEncoder(SharedProjection(6), CONFIG).train()
    assert not encoder.target(ROWS).requires_grad
    assert not encoder.target_encoder.training
    assert encoder.online_encoder.training
    assert encoder.online(ROWS).requires_grad


def test_the_online_encoder_is_trained_and_the_target_follows():
    encoder = EMAEncoder(SharedProjection(6), EMAConfig(tau_start=0.5, tau_end=0.5))
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    goal = ROWS.roll(1, dims=0)
    for step in range(30):
        optimizer.zero_grad()
        (1 - (encoder.online(ROWS) * goal).sum(dim=1)).mean().backward()
        optimizer.step()
        encoder.update(step, 30)
    assert (encoder.target(ROWS) * goal).sum(dim=1).mean() > (ROWS * goal).sum(dim=1).mean() + 0.3
    torch.testing.assert_close(encoder.target(ROWS), encoder.online(ROWS), atol=0.1, rtol=0)


def test_the_state_dict_holds_both_encoders_and_is_not_consumed_by_loading():
    encoder = EMAEncoder(SharedProjection(6), CONFIG)
    with torch.no_grad():
        weight(encoder.online_encoder, "change").fill_(0.5)
        weight(encoder.target_encoder, "change").fill_(0.25)
    state = encoder.state_dict()
    names = set(state)
    other = EMAEncoder(SharedProjection(6), CONFIG)
    other.load_state_dict(state)
    assert set(state) == names == {"online_encoder.change.weight", "target_encoder.change.weight"}
    assert torch.equal(other.online(ROWS), encoder.online(ROWS))
    assert torch.equal(other.target(ROWS), encoder.target(ROWS))


def test_a_frozen_target_changes_nothing_and_has_nothing_to_train():
    frozen = FrozenTarget()
    assert frozen.online(ROWS) is ROWS
    assert frozen.target(ROWS) is ROWS
    assert frozen.update(3, 10) == 1.0
    assert list(frozen.parameters()) == []


def test_an_untrained_projection_is_the_identity_and_a_trained_one_gives_unit_rows():
    projection = SharedProjection(6)
    torch.testing.assert_close(projection(ROWS), ROWS)
    with torch.no_grad():
        projection.change.weight.copy_(torch.randn(6, 6, generator=torch.Generator().manual_seed(4)))
    torch.testing.assert_close(projection.project(ROWS).norm(dim=1), torch.ones(5))
    assert projection.project(torch.zeros(2, 6)).abs().max() == 0
