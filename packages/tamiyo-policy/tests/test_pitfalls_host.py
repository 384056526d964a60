import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.counterfactual import contributions, gain, interactions, members
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import LORA, MLP, NORM
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting
from sightline.tamiyo_policy.hosts.training import StackedTraining

worths = st.lists(st.floats(-20, 20), min_size=3, max_size=3)
EVERYONE, NOBODY = np.ones((1, 3), np.bool_), np.zeros((1, 3), np.bool_)


@given(worths, st.floats(-50, 50))
def test_pitfall_15_the_hosts_own_learning_is_nobodys_contribution(worth, drift):
    game = members(3) @ np.array(worth) + np.arange(8) % 3
    before, after = game[None], game[None] + drift
    for measure in (contributions, interactions):
        found = measure(before, EVERYONE, NOBODY)
        np.testing.assert_allclose(measure(after, EVERYONE, NOBODY), found, atol=1e-9)
    np.testing.assert_allclose(gain(before, EVERYONE), gain(after, EVERYONE), atol=1e-9)


@given(worths, st.floats(0, 100))
def test_pitfall_20_seeds_that_add_up_have_no_interaction_and_contribute_their_worth(worth, base):
    values = (members(3) @ np.array(worth) + base)[None]
    np.testing.assert_allclose(contributions(values, EVERYONE, NOBODY)[0], worth, atol=1e-9)
    np.testing.assert_allclose(interactions(values, EVERYONE, NOBODY)[0], 0, atol=1e-9)


def test_pitfall_20_a_contribution_is_filed_under_the_slot_that_was_switched_off():
    model = AutogradModel(TokenHost(), token_blueprints(), 1, channels=8)
    model.draw_host(0, "A", np.random.default_rng(0))
    blueprint = np.array([[NORM, MLP, LORA]])
    for slot in range(3):
        model.plant(0, slot, int(blueprint[0, slot]), np.random.default_rng(slot))
    model.seed_parameters[0, 2] += 1.0  # only the seed in slot 2 has any effect
    setting = SeedSetting(blueprint, np.ones((1, 3), np.float32), np.zeros((1, 3), np.int64), NOBODY)
    inputs, labels = torch.randn(4, 40, 16, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 10
    _, losses = model.evaluate(setting, np.zeros(8, np.int64), members(3).astype(np.float32), inputs, labels)
    found = contributions(losses[None], EVERYONE, NOBODY)[0]
    assert abs(found[2]) > 0.1
    assert found[0] == found[1] == 0


def test_pitfall_23_validation_leaves_training_as_it_was(small_digits):
    config = HostTrainingConfig(steps=4, minibatches=2, batch_size=16)
    courses = []
    for validations in (0, 1, 2):
        training = StackedTraining(small_digits, TokenHost(), token_blueprints(), 2, channels=8, config=config)
        training.reset([0, 1], "BC")
        setting = SeedSetting(
            blueprint=np.array([[MLP, NORM, -1]] * 2),
            alpha=np.array([[0.0, 0.6, 0.0]] * 2, np.float32),
            operator=np.zeros((2, 3), np.int64),
            straight_through=np.array([[True, False, False]] * 2),
        )
        for network in range(2):
            training.plant(network, 0, MLP, 0)
            training.plant(network, 1, NORM, 0)
        for step in range(4):
            training.interval(setting, np.zeros((2, 3), np.bool_), step)
            for _ in range(validations):
                training.measure(setting, np.ones((2, 8), np.bool_))
        courses.append(training.model.state_dict())
    for course in courses[1:]:
        assert all(torch.equal(courses[0][name], tensor) for name, tensor in course.items())
