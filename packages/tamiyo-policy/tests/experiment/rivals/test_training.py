from dataclasses import replace

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.experiment import Episode, Rival, no_growth, play_episodes, train_rivals
from sightline.tamiyo_policy.experiment.rivals.training import slot_signals, timetable
from sightline.tamiyo_policy.experiment.rivals.units import UNITS, units_blueprint
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.topologies import topology_setting
from sightline.tamiyo_policy.hosts.blueprints import mlp, token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.instances import InstanceDistribution
from sightline.tamiyo_policy.hosts.operations import MLP
from sightline.tamiyo_policy.hosts.training import StackedTraining

INSTANCES = InstanceDistribution(
    shallowest=1, log_gain=(-0.5, 0.2), severed=(2, 2), drift=0.5, label_noise=(0.1, 0.2), log_train_share=(-0.3, 0.0),
    log_budget=(-0.5, 0.3),
)  # fmt: skip
CONFIG = GrowthConfig(training=HostTrainingConfig(steps=8, minibatches=2, batch_size=16, instances=INSTANCES))
EPISODES = [Episode(family, seed) for seed, family in enumerate("ACEB")]
NAMES = ("Net2Net", "GradMax", "Firefly", "AutoGrow")


def trained(data, rivals):
    return train_rivals(list(zip(rivals, EPISODES, strict=True)), data, TokenHost(), config=CONFIG, read_test=True)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_rival_that_may_grow_nothing_plays_the_same_game_as_no_growth(small_digits, compiled):
    modules = token_blueprints()
    if not compiled:  # a module without a compiled function
        modules = {MLP: replace(modules[MLP], residual=lambda parameters, x: mlp(parameters, x))}
    environment = GrowthEnvironment(small_digits, 4, config=CONFIG, blueprints=modules)
    (expected,) = play_episodes(environment, EPISODES, no_growth(environment.action_space), read_test=True)
    found = trained(small_digits, [Rival(name, parameters=0) for name in NAMES])
    # Compiled sums are rounded otherwise, which may turn over the class of a sample or two.
    tolerance = 2.1 if compiled else 1e-4
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.family, mine.seed, mine.topology, mine.parameters) == (theirs.family, theirs.seed, (0, 0, 0), 0)
        for field in ("score", "accuracy", "test_score", "test_accuracy"):
            assert getattr(mine, field) == pytest.approx(getattr(theirs, field), abs=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_rival_ends_with_its_parameters_less_than_a_unit_short_of_them(small_digits, name):
    found = trained(small_digits, [Rival(name, until, 120.0) for until in (0.0, 0.5, 1.0, 0.5)])
    allowances = built(small_digits).allowances()
    for record, allowed in zip(found, allowances, strict=True):
        target = min(120.0, allowed)
        assert record.parameters <= target
        if name != "AutoGrow":
            assert target - record.parameters < 17  # of a unit over 8 channels
        assert record.score == pytest.approx(
            record.accuracy - 5 * np.log1p(record.parameters / host_size(small_digits, record.seed)), abs=1e-4
        )
        assert (record.topology == (0, 0, 0)) == (record.parameters == 0)
        assert set(record.topology) <= {0, UNITS}


def test_what_a_rival_reaches_does_not_depend_on_what_is_trained_beside_it(small_digits):
    rivals = [Rival(name, parameters=100.0) for name in NAMES]
    together = trained(small_digits, rivals)
    alone = [
        train_rivals([pair], small_digits, TokenHost(), config=CONFIG)[0] for pair in zip(rivals, EPISODES, strict=True)
    ]
    assert [record.parameters for record in together] == [record.parameters for record in alone]
    np.testing.assert_allclose([r.score for r in together], [r.score for r in alone], atol=2.1)
    assert all(record.test_score is None for record in alone)


def test_the_gradient_at_a_slot_is_the_finite_difference_of_the_loss_and_is_zero_where_severed(small_digits):
    training = built(small_digits)
    for network in range(4):
        training.model.seed_parameters[network, :, :17] = 0.3
    inputs, gradients = slot_signals(training, 3)
    assert inputs.shape == gradients.shape == (4, 3, 8, 32, 16)
    severed = torch.from_numpy(training.severed(3))
    assert not gradients[severed].any()
    assert gradients[~severed].flatten(1).any(1).all()
    # A unit with bias 1 and weight out -h takes h from one channel everywhere. From below, as torch has it: where a
    # block hands on zeros of the one before, its ReLU is at its kink.
    step = 3e-3
    for network, slot in enumerate((~severed).int().argmax(1).tolist()):
        losses = []
        for taken in (0.0, -step):
            training.model.seed_parameters[network, slot] = 0.0
            training.model.seed_parameters[network, slot, 8] = 1.0  # the bias of the only unit over channels
            training.model.seed_parameters[network, slot, 9] = taken  # its weight to the first channel
            losses.append(loss_of(training, network, 3))
        training.model.seed_parameters[network, slot] = 0.0
        slope = float(slot_signals(training, 3)[1][network, slot, 0].sum())
        assert (losses[0] - losses[1]) / step == pytest.approx(slope, rel=0.05, abs=1e-3)


def test_the_timetable_spreads_growth_evenly_and_ends_with_the_whole():
    assert timetable(Rival("GradMax", 0.0), 60) == {0: 1.0}
    assert timetable(Rival("GradMax", 0.5), 60) == {at: pytest.approx((at / 5 + 1) / 6) for at in range(0, 30, 5)}
    assert timetable(Rival("AutoGrow", 0.0), 60) == dict.fromkeys(range(0, 60, 5), 1.0)


def built(data) -> StackedTraining:
    module = units_blueprint(8, 16, (1, 1))
    training = StackedTraining(data, TokenHost(), {UNITS: module}, 4, channels=8, config=CONFIG.training)
    training.reset([episode.seed for episode in EPISODES], [episode.family for episode in EPISODES])
    return training


def host_size(data, seed: int) -> int:
    return int(built(data).model.host_sizes()[seed])


def loss_of(training: StackedTraining, network: int, step: int) -> float:
    """Return the loss on the samples of an interval, by the stack's own forward pass, which learns nothing from it."""
    kept = training.model.state_dict()
    setting, frozen = topology_setting(np.full((4, 3), UNITS)), np.ones((4, 3), np.bool_)
    connected = replace(setting, blueprint=np.where(training.severed(step), -1, setting.blueprint))
    losses = []
    for batch, target in zip(*training.minibatches(step), strict=True):
        # The loss is that before the update, which is undone.
        losses.append(float(training.model.train(connected, frozen, batch[None], target[None])[0][network]))
        training.model.load_state_dict(kept)
    return float(np.mean(losses))
