from dataclasses import replace

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import digits_data
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.instances import InstanceDistribution
from sightline.tamiyo_policy.hosts.operations import MLP, NORM
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting
from sightline.tamiyo_policy.hosts.training import StackedTraining

CONFIG = HostTrainingConfig(steps=30, minibatches=3, batch_size=16)


def build(data, num_networks, config=CONFIG, workers=1):
    return StackedTraining(
        data, TokenHost(), token_blueprints(), num_networks, channels=8, config=config, workers=workers
    )


def setting(rows, alpha=1.0):
    blueprint = np.array(rows, np.int64)
    shape = blueprint.shape
    return SeedSetting(
        blueprint, np.full(shape, alpha, np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    )


def grow(training, what, steps):
    for network, slot in zip(*np.nonzero(what.blueprint >= 0), strict=True):
        training.plant(network, slot, int(what.blueprint[network, slot]), 0)
    for step in range(steps):
        training.interval(what, np.zeros(what.alpha.shape, np.bool_), step)


def test_a_network_takes_the_same_course_in_any_stack(small_digits):
    rows, families = [[NORM, -1, -1], [-1, -1, -1], [-1, MLP, 4], [2, -1, -1]], "DACB"
    stack = build(small_digits, 4)
    stack.reset([5, 6, 7, 8], families)
    grow(stack, setting(rows), 30)
    for network in range(4):
        single = build(small_digits, 1)
        single.reset([5 + network], families[network])
        grow(single, setting(rows[network : network + 1]), 30)
        for name in ("host_parameters", "seed_parameters"):
            pair = getattr(single.model, name)[0], getattr(stack.model, name)[network]
            torch.testing.assert_close(*pair, atol=1e-4, rtol=0)


def test_workers_change_nothing_but_rounding(small_digits):
    what, courses = setting([[NORM, -1, -1], [-1, MLP, -1], [-1, -1, 4]]), []
    for workers in (1, 2):
        training = build(small_digits, 3, workers=workers)
        training.reset([1, 2, 3], "ABC")
        with torch.inference_mode():
            grow(training, what, 8)
        courses.append([*training.measure(what, np.ones((3, 8), np.bool_)), training.model.host_parameters.numpy()])
    for one, two in zip(*courses, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 4])
def test_workers_must_have_networks(small_digits, workers):
    with pytest.raises(ValueError, match="workers must be 1 to 3"):
        build(small_digits, 3, workers=workers)


def test_hosts_learn(small_digits):
    training = build(small_digits, 2)
    training.reset([0, 1], "BB")
    what, whole = setting([[-1] * 3] * 2), np.ones((2, 1), np.bool_).repeat(8, 1)
    before = training.measure(what, whole)[1]
    grow(training, what, 30)
    accuracy, after = training.measure(what, whole)
    assert (after < 0.8 * before).all()
    assert (accuracy > 40).all()


def test_a_seed_gives_the_order_and_the_noise_that_it_always_gave():
    config = HostTrainingConfig(instances=InstanceDistribution(label_noise=(0.2, 0.2)))
    training = StackedTraining(digits_data(), TokenHost(), token_blueprints(), 1, channels=8, config=config)
    training.restore([3])
    assert training._labels[0, :12].tolist() == [4, 6, 6, 3, 4, 2, 6, 2, 9, 1, 5, 9]
    assert training._order[0, 0, 0, :6].tolist() == [463, 764, 256, 429, 616, 641]
    assert training._order[-1, -1, 0, -5:].tolist() == [111, 472, 473, 219, 957]


def test_every_sample_is_seen_once_before_any_is_seen_twice(small_digits):
    training = build(small_digits, 2, HostTrainingConfig(steps=10, minibatches=2, batch_size=16))
    training.reset([3, 4], "AA")
    orders = training._order[:5].movedim(2, 0).flatten(1)
    assert all(sorted(order.tolist()) == list(range(160)) for order in orders)
    assert not torch.equal(orders[0], orders[1])


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_labels_are_as_noisy_as_asked_for(small_digits, noise):
    training = build(
        small_digits, 1, HostTrainingConfig(steps=1, instances=InstanceDistribution(label_noise=(noise, noise)))
    )
    training.reset([0], "A")
    wrong = float((training._labels[0].numpy() != small_digits.train.labels).mean())
    assert abs(wrong - 0.9 * noise) < 0.12


def test_only_wanted_coalitions_are_measured_and_others_are_nan(small_digits):
    training = build(small_digits, 2)
    training.reset([0, 1], "AC")
    wanted = np.zeros((2, 8), np.bool_)
    wanted[0, 7] = wanted[1, 0] = True
    for table in training.measure(setting([[NORM] * 3] * 2), wanted):
        assert np.array_equal(np.isnan(table), ~wanted)


def test_the_test_accuracy_is_that_of_the_test_part(small_digits):
    training = build(small_digits, 1)
    training.reset([0], "B")
    what = setting([[-1] * 3])
    grow(training, what, 20)
    right = build(replace(small_digits, validation=small_digits.test), 1)
    right.model.load_state_dict(training.model.state_dict())
    accuracy = right.measure(what, np.ones((1, 8), np.bool_))[0][0, 7]
    assert training.test_accuracy(what)[0] == accuracy > 20


def test_seeds_that_pass_straight_through_have_no_part_in_the_test_accuracy(small_digits):
    training = build(small_digits, 1)
    training.reset([0], "B")
    what = setting([[MLP] * 3])
    grow(training, what, 20)
    through = replace(what, straight_through=np.ones((1, 3), np.bool_))
    off = replace(what, alpha=np.zeros((1, 3), np.float32))
    assert training.test_accuracy(through) == training.test_accuracy(off) != training.test_accuracy(what)


def test_another_number_of_seeds_than_networks_is_refused(small_digits):
    with pytest.raises(ValueError, match="2 networks need as many seeds, got 3"):
        build(small_digits, 2).reset([1, 2, 3], "AAA")


def test_a_seed_in_a_severed_slot_has_neither_effect_nor_gradient_until_the_drift(small_digits):
    def course(severed, drift):
        instances = InstanceDistribution(severed=(severed, severed), drift=drift)
        training = build(small_digits, 1, CONFIG.model_copy(update={"instances": instances}))
        training.reset([4], "A")
        return training

    what = setting([[-1, -1, MLP]])
    severed = course(3, 0.0)
    severed.plant(0, 2, MLP, 0)
    report = severed.interval(what, np.zeros((1, 3), np.bool_), 0)
    assert report.seed_norm.tolist() == [[0.0, 0.0, 0.0]]
    empty = course(0, 0.0)
    empty.interval(setting([[-1] * 3]), np.zeros((1, 3), np.bool_), 0)
    assert torch.equal(severed.model.host_parameters, empty.model.host_parameters)
    whole = np.ones((1, 8), np.bool_)
    grown = course(0, 0.0)
    grow(grown, what, 20)
    for training in (severed, empty):
        training.model.load_state_dict(grown.model.state_dict())
    without = empty.measure(setting([[-1] * 3]), whole)[1]
    np.testing.assert_array_equal(severed.measure(what, whole)[1], without)
    assert (grown.measure(what, whole)[1] != without).any()
    assert severed.test_accuracy(what) == empty.test_accuracy(setting([[-1] * 3])) != grown.test_accuracy(what)


def test_the_drift_severs_other_slots_at_its_step_and_a_restored_training_knows_it(small_digits):
    instances = InstanceDistribution(severed=(1, 1), drift=1.0)
    config = CONFIG.model_copy(update={"instances": instances})
    seed = next(seed for seed in range(99) if not np.array_equal(*instances.draw(seed, 3).severed))
    training = build(small_digits, 1, config)
    training.reset([seed], "A")
    (instance,) = training.instances
    first = int(np.ceil(instance.drift_at * config.steps))
    what = setting([[NORM] * 3])
    for slot in range(3):
        training.plant(0, slot, NORM, 0)
    for step, row in ((first - 1, 0), (first, 1)):
        report = training.interval(what, np.zeros((1, 3), np.bool_), step)
        assert (report.seed_norm[0] == 0).tolist() == instance.severed[row].tolist()
        other = build(small_digits, 1, config)
        other.restore([seed], step=step)
        other.model.load_state_dict(training.model.state_dict())
        whole = np.ones((1, 8), np.bool_)
        np.testing.assert_array_equal(other.measure(what, whole)[1], training.measure(what, whole)[1])


def test_only_the_share_of_samples_that_there_is_is_seen(small_digits):
    instances = InstanceDistribution(log_train_share=(-1.0, -1.0))
    training = build(small_digits, 2, CONFIG.model_copy(update={"instances": instances}))
    training.reset([0, 1], "AA")
    seen = [set(training._order[:, :, network].flatten().tolist()) for network in range(2)]
    assert [len(samples) for samples in seen] == [16, 16]
    assert seen[0] != seen[1]


def test_hosts_of_another_kind_cannot_be_altered(small_digits):
    class Other:
        num_slots = 3

    config = HostTrainingConfig(instances=InstanceDistribution(shallowest=1))
    with pytest.raises(TypeError, match="need a TokenHost, got Other"):
        StackedTraining(small_digits, Other(), token_blueprints(), 1, channels=8, config=config)  # ty: ignore[invalid-argument-type]
