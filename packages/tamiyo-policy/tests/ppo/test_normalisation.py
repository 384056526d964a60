from __future__ import annotations

import pytest
import torch
from torch import nn

from sightline.tamiyo_policy.ppo.normalisation import (
    ObservationNormaliser,
    RewardScaler,
    RunningMoments,
    ValueNormaliser,
)


def test_the_first_batches_are_averaged_as_if_they_were_one() -> None:
    batches = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0)) * 5 + torch.arange(4.0)[:, None, None]
    moments = RunningMoments(3)
    for batch in batches:
        moments.update(batch)
    assert torch.allclose(moments.mean, batches.reshape(-1, 3).mean(0), atol=1e-5)
    assert torch.allclose(moments.variance, batches.reshape(-1, 3).var(0, correction=0), rtol=1e-4)


def test_later_batches_move_the_moments_by_one_hundredth() -> None:
    moments = RunningMoments(1)
    for _ in range(100):
        moments.update(torch.zeros(2, 1))
    moments.update(torch.full((2, 1), 10.0))
    assert float(moments.mean) == pytest.approx(0.1)


def test_an_empty_batch_changes_nothing() -> None:
    moments = RunningMoments(2)
    moments.update(torch.zeros(0, 2))
    assert int(moments.updates) == 0
    assert moments.mean.tolist() == [0.0, 0.0]


def test_a_moved_scale_leaves_every_value_what_it_was() -> None:
    generator = torch.Generator().manual_seed(1)
    layer, features = nn.Linear(8, 1), torch.randn(20, 8, generator=generator)
    normaliser = ValueNormaliser()
    normaliser.initialise(torch.randn(30, generator=generator))
    before = normaliser.denormalise(layer(features))
    normaliser.update(torch.randn(30, generator=generator) * 40 + 100, layer)
    assert float(normaliser.deviation) > 10
    assert torch.allclose(normaliser.denormalise(layer(features)), before, rtol=1e-4, atol=1e-3)


def test_normalised_returns_come_back() -> None:
    normaliser = ValueNormaliser()
    normaliser.initialise(torch.tensor([1.0, 5.0]))
    returns = torch.tensor([2.0, -3.0])
    assert torch.allclose(normaliser.denormalise(normaliser.normalise(returns)), returns)


def test_only_the_first_returns_set_the_scale_at_once() -> None:
    normaliser = ValueNormaliser()
    normaliser.initialise(torch.tensor([0.0, 2.0]))
    normaliser.initialise(torch.tensor([500.0, 700.0]))
    assert normaliser.denormalise(torch.tensor(0.0)).item() == pytest.approx(1.0)


def test_flags_and_codes_are_not_standardised() -> None:
    normaliser = ObservationNormaliser(torch.tensor([True, False]))
    normaliser.update(torch.tensor([[10.0, 0.0], [30.0, 1.0]]))
    assert normaliser.normalise(torch.tensor([[40.0, 1.0], [20.0, -1.0]])).tolist() == [[2.0, 1.0], [0.0, -1.0]]


def test_observations_far_out_are_clipped() -> None:
    normaliser = ObservationNormaliser(torch.tensor([True]))
    normaliser.update(torch.tensor([[-1.0], [1.0]]))
    assert normaliser.normalise(torch.tensor([[1e6], [-1e6]])).tolist() == [[10.0], [-10.0]]


def test_reading_does_not_move_a_normaliser() -> None:
    normaliser = ObservationNormaliser(torch.tensor([True]))
    normaliser.update(torch.tensor([[-1.0], [1.0]]))
    before = {name: value.clone() for name, value in normaliser.state_dict().items()}
    normaliser.normalise(torch.full((100, 1), 50.0))
    assert all(torch.equal(before[name], value) for name, value in normaliser.state_dict().items())


def test_scaled_rewards_do_not_depend_on_the_unit() -> None:
    rewards = torch.tensor([1.0, -2.0, 0.5])
    small, large = RewardScaler(), RewardScaler()
    assert torch.allclose(small.scale(rewards, rewards), large.scale(rewards * 1000, rewards * 1000))


def test_one_scale_serves_all_rewards_of_a_round() -> None:
    rewards = torch.tensor([1.0, 1.0, 4.0])
    scaled = RewardScaler().scale(rewards, torch.tensor([2.0, 6.0]))
    assert scaled.tolist() == [0.5, 0.5, 2.0]
