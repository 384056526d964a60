from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.tamiyo_policy.hosts.instances import Instance, InstanceDistribution

WIDE = InstanceDistribution(
    shallowest=1,
    log_gain=(-1.0, 0.5),
    severed=(1, 2),
    drift=0.5,
    label_noise=(0.1, 0.4),
    log_train_share=(-1.0, 0.0),
    log_budget=(-0.5, 0.5),
)
SEEDS = st.integers(0, 2**40)


def same(one: Instance, other: Instance) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Instance.__dataclass_fields__)


@settings(deadline=None)
@given(SEEDS)
def test_an_instance_is_a_function_of_its_seed_and_within_its_ranges(seed: int) -> None:
    drawn = WIDE.draw(seed, 3)
    assert same(drawn, WIDE.draw(seed, 3))
    assert 1 <= drawn.depth <= 3
    assert 0.1 <= drawn.gain <= 10**0.5
    assert drawn.severed.shape == (2, 3)
    assert set(drawn.severed.sum(1).tolist()) <= {1, 2}
    assert 0.1 <= drawn.label_noise <= 0.4
    assert 0.1 <= drawn.train_share <= 1
    assert 10**-0.5 <= drawn.budget <= 10**0.5
    assert 1 / 3 <= drawn.drift_at <= 2 / 3 or (drawn.drift_at == 1 and np.array_equal(*drawn.severed))


@settings(deadline=None)
@given(SEEDS)
def test_the_defaults_change_nothing(seed: int) -> None:
    drawn = InstanceDistribution().draw(seed, 3)
    plain = Instance(3, 1.0, np.zeros((2, 3), np.bool_), 1.0, 0.0, 1.0, np.inf)
    assert same(drawn, plain)
    assert not InstanceDistribution().alters_hosts


@settings(deadline=None)
@given(SEEDS)
def test_another_range_of_one_quantity_leaves_the_others_as_they_were(seed: int) -> None:
    other = WIDE.model_copy(update={"log_gain": (0.0, 0.0)}).draw(seed, 3)
    drawn = WIDE.draw(seed, 3)
    assert other.gain == 1.0
    assert (other.depth, other.label_noise, other.budget) == (drawn.depth, drawn.label_noise, drawn.budget)
    assert np.array_equal(other.severed, drawn.severed)


def test_instances_differ_and_every_slot_is_severed_as_often_as_the_others() -> None:
    drawn = [WIDE.draw(seed, 3) for seed in range(600)]
    assert {instance.depth for instance in drawn} == {1, 2, 3}
    severed = np.mean([instance.severed for instance in drawn], axis=(0, 1))
    assert np.abs(severed - 0.5).max() < 0.06
    drifting = np.mean([instance.drift_at < 1 for instance in drawn])
    assert abs(drifting - 0.5) < 0.08


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_gain": (1.0, 0.0)}, "least and the greatest"),
        ({"severed": (-1, 1)}, "not be negative"),
        ({"label_noise": (0.0, 1.0)}, "label_noise must lie"),
        ({"log_train_share": (0.0, 0.1)}, "at most 0"),
    ],
)
def test_impossible_ranges_are_refused_by_name(change: dict[str, tuple[float, float]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InstanceDistribution.model_validate(change)


def test_too_few_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="1 slots are too few"):
        WIDE.draw(0, 1)
