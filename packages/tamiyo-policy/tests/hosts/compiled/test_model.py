import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.compiled.model import CompiledModel
from sightline.tamiyo_policy.hosts.config import FAMILIES, AdamConfig, HostTrainingConfig
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import MLP, NORM
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting
from sightline.tamiyo_policy.hosts.training import StackedTraining

BLUEPRINTS = token_blueprints()
NETWORKS = 5  # one of each family
slots = st.lists(
    st.tuples(st.sampled_from([-1, *BLUEPRINTS]), st.sampled_from([0.0, 0.4, 1.0]), st.integers(0, 2), st.booleans()),
    min_size=3 * NETWORKS,
    max_size=3 * NETWORKS,
)


def seed_setting(drawn):
    columns = [np.array(column).reshape(-1, 3) for column in zip(*drawn, strict=True)]
    blueprint, alpha, operator, through = columns
    return SeedSetting(blueprint, alpha.astype(np.float32), operator, through)


def build(kind, what, host=None, blueprints=BLUEPRINTS, networks=NETWORKS, **options):
    """Networks with modules that are past their birth."""
    host = host or TokenHost()
    model = kind(host, blueprints, networks, channels=host.channels, **options)
    for network in range(networks):
        model.draw_host(network, FAMILIES[network % 5], np.random.default_rng(network))
    for network, slot in zip(*np.nonzero(what.blueprint >= 0), strict=True):
        model.plant(network, slot, int(what.blueprint[network, slot]), np.random.default_rng(7))
    model.seed_parameters += 0.1 * torch.randn(model.seed_parameters.shape, generator=torch.Generator().manual_seed(1))
    return model


def samples(count, networks=NETWORKS, size=24, host=None):
    host = host or TokenHost()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, networks, host.input_channels, size, host.tokens, generator=generator)
    return inputs, torch.randint(host.num_classes, (count, networks, size), generator=generator)


def parameters(model):
    adam = [getattr(state, name) for state in (model.host_adam, model.seed_adam) for name in ("mean", "steps")]
    return [model.host_parameters, model.seed_parameters, *adam]


def train_once(model, what, frozen, inputs, labels):
    """What a step reports and what is in Adam's moments, after a check that the parameters are what these ask for.

    The parameters themselves would be no comparison: a first step of Adam is as long for a gradient that is all
    rounding as for a large one.
    """
    before = model.host_parameters.clone(), model.seed_parameters.clone()
    reported = model.train(what, frozen, inputs, labels)
    after, config = (model.host_parameters, model.seed_parameters), AdamConfig()
    for old, new, adam in zip(before, after, (model.host_adam, model.seed_adam), strict=True):
        assert adam.steps.max() <= 1
        mean = adam.mean / (1 - config.beta1)
        step = mean / ((adam.square / (1 - config.beta2)).sqrt() + config.epsilon)
        torch.testing.assert_close(new, old - config.learning_rate * step, atol=1e-6, rtol=0)
    return reported, [
        part for adam in (model.host_adam, model.seed_adam) for part in (adam.mean, adam.square, adam.steps)
    ]


def assert_alike(one, other):
    (reported, moments), (other_reported, other_moments) = one, other
    for a, b in zip(reported, other_reported, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    # Means of clipped gradients are 0.1 at most, those of their squares 0.001, and steps are counted.
    for a, b, tolerance in zip(moments, other_moments, (5e-5, 1e-6, 0.0) * 2, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@settings(max_examples=40, deadline=None)
@given(slots, st.lists(st.booleans(), min_size=3 * NETWORKS, max_size=3 * NETWORKS))
def test_training_is_that_of_torch(drawn, frozen):
    what, frozen = seed_setting(drawn), np.array(frozen).reshape(-1, 3)
    assert_alike(*(train_once(build(kind, what), what, frozen, *samples(1)) for kind in (AutogradModel, CompiledModel)))


@settings(max_examples=40, deadline=None)
@given(slots, st.data())
def test_measurements_are_those_of_torch(drawn, data):
    what = seed_setting(drawn)
    rows = data.draw(st.lists(st.tuples(st.integers(0, 4), *[st.sampled_from([0.0, 0.5, 1.0])] * 3), min_size=1))
    networks, alpha = np.array([row[0] for row in rows]), np.array([row[1:] for row in rows], np.float32)
    size = data.draw(st.sampled_from([1, 63, 64, 65, 130, 193]))
    inputs, labels = samples(1, 1, size)
    models = build(AutogradModel, what), build(CompiledModel, what, workers=2)
    (right, loss), (found, other) = (m.evaluate(what, networks, alpha, inputs[0, 0], labels[0, 0]) for m in models)
    np.testing.assert_allclose(other, loss, atol=1e-4, rtol=1e-4)
    assert (np.abs(found - right) * size / 100 < 1.5).all()  # a tie may go either way


@pytest.mark.parametrize(
    "host", [TokenHost(3, 9, 4, channels=5, num_slots=2), TokenHost(channels=12), TokenHost(1, 4, 2, 1, 1)]
)
def test_hosts_of_other_sizes_are_computed_as_well(host):
    blueprints = token_blueprints(host.channels, host.tokens)
    kinds = np.array([[list(blueprints)[(n + k) % 6] for k in range(host.num_slots)] for n in range(6)])
    what = SeedSetting(kinds, np.full(kinds.shape, 0.7, np.float32), kinds % 3, np.zeros(kinds.shape, np.bool_))
    models = [build(kind, what, host, blueprints, 6) for kind in (AutogradModel, CompiledModel)]
    batch = np.zeros(kinds.shape, np.bool_), *samples(1, 6, 7, host)
    assert_alike(*(train_once(model, what, *batch) for model in models))


def test_a_network_is_the_same_to_the_last_bit_in_any_stack_and_with_any_number_of_workers():
    what = SeedSetting(
        np.array([[NORM, MLP, -1], [2, -1, 4], [-1, 8, 10], [-1] * 3, [11, 3, 2]]),
        np.full((5, 3), 0.8, np.float32),
        np.arange(15).reshape(5, 3) % 3,
        np.zeros((5, 3), np.bool_),
    )
    whole = build(CompiledModel, what, workers=3)
    inputs, labels = samples(4)
    frozen = np.zeros((5, 3), np.bool_)
    whole.train(what, frozen, inputs, labels)
    for network in range(5):
        part = slice(network, network + 1)
        own = SeedSetting(what.blueprint[part], what.alpha[part], what.operator[part], what.straight_through[part])
        alone = build(CompiledModel, what)
        for name in ("host_parameters", "trainable", "constants", "seed_parameters"):
            setattr(alone, name, getattr(alone, name)[part].clone())
        for name in ("host_adam", "seed_adam"):
            state = getattr(alone, name)
            setattr(
                alone, name, replace(state, **{field: getattr(state, field)[part].clone() for field in vars(state)})
            )
        alone.train(own, frozen[part], inputs[:, part], labels[:, part])
        for mine, theirs in zip(parameters(alone), parameters(whole), strict=True):
            assert torch.equal(mine[0], theirs[network])


def test_a_network_that_is_lost_keeps_its_parameters_and_harms_no_other():
    what = SeedSetting(
        np.full((5, 3), MLP), np.ones((5, 3), np.float32), np.zeros((5, 3), np.int64), np.zeros((5, 3), np.bool_)
    )
    model, healthy = build(CompiledModel, what), build(CompiledModel, what)
    model.seed_parameters[2, 1, 0] = torch.inf
    before = model.host_parameters.clone()
    inputs, labels = samples(2)
    loss, norm, _ = model.train(what, np.zeros((5, 3), np.bool_), inputs, labels)
    healthy.train(what, np.zeros((5, 3), np.bool_), inputs, labels)
    assert not loss[2].isfinite()
    assert not norm[2].isfinite()
    assert torch.equal(model.host_parameters[2], before[2])
    for other in (0, 1, 3, 4):
        assert loss[other].isfinite()
        assert torch.equal(model.host_parameters[other], healthy.host_parameters[other])


def test_a_seed_that_only_learns_does_not_reach_its_host_whatever_it_gives():
    what = SeedSetting(
        np.full((5, 3), MLP), np.zeros((5, 3), np.float32), np.arange(15).reshape(5, 3) % 3, np.ones((5, 3), np.bool_)
    )
    model, alone = build(CompiledModel, what), build(CompiledModel, NOTHING)
    model.seed_parameters[:, :2] = torch.nan
    for stack, its in ((model, what), (alone, NOTHING)):
        stack.train(its, np.zeros((5, 3), np.bool_), *samples(2))
    assert torch.equal(model.host_parameters, alone.host_parameters)


NOTHING = SeedSetting(
    np.full((5, 3), -1), np.zeros((5, 3), np.float32), np.zeros((5, 3), np.int64), np.zeros((5, 3), np.bool_)
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :4], y), "inputs must be"),
        (lambda x, y: (x[:, :4], y[:, :4]), "samples of 4 networks"),
        (lambda x, y: (x.double(), y), "inputs must be"),
        (lambda x, y: (x, y.int()), "labels int64"),
        (lambda x, y: (x[..., :3], y), "inputs must be"),
        (lambda x, y: (x, y + 1), "labels must lie in"),
        (lambda x, y: (x, y - 1), "labels must lie in"),
    ],
)
def test_what_would_read_beyond_memory_is_refused(change, message):
    model = build(CompiledModel, NOTHING)
    before = [tensor.clone() for tensor in parameters(model)]
    with pytest.raises(ValueError, match=message):
        model.train(NOTHING, np.zeros((5, 3), np.bool_), *change(*samples(1)))
    assert all(map(torch.equal, before, parameters(model)))


def test_other_networks_and_unknown_modules_are_refused():
    model = build(CompiledModel, NOTHING)
    inputs, labels = samples(1, 1)
    for network in (-1, 5):
        with pytest.raises(ValueError, match="networks must lie in"):
            model.evaluate(NOTHING, np.array([network]), np.zeros((1, 3), np.float32), inputs[0, 0], labels[0, 0])
    with pytest.raises(ValueError, match="alphas must be"):
        model.evaluate(NOTHING, np.array([0]), np.zeros((1, 2), np.float32), inputs[0, 0], labels[0, 0])
    unknown = replace(NOTHING, blueprint=np.full((5, 3), 7))
    with pytest.raises(ValueError, match="a setting must be"):
        model.train(unknown, np.zeros((5, 3), np.bool_), *samples(1))


def test_modules_without_a_kernel_other_hosts_and_no_numba_are_left_to_torch(small_digits, monkeypatch):
    class OtherHost(TokenHost):
        pass

    def kind(host, blueprints):
        return type(StackedTraining(small_digits, host, blueprints, 2, channels=8, config=HostTrainingConfig()).model)

    own = {**BLUEPRINTS, MLP: replace(BLUEPRINTS[MLP], residual=lambda parameters, x: x)}
    assert kind(TokenHost(), BLUEPRINTS) is CompiledModel
    assert kind(TokenHost(), own) is kind(OtherHost(), BLUEPRINTS) is AutogradModel
    monkeypatch.setattr("sightline.tamiyo_policy.hosts.training.find_spec", lambda name: None)
    assert kind(TokenHost(), BLUEPRINTS) is AutogradModel


def test_numba_is_imported_only_where_networks_are_compiled():
    code = "import sys, sightline.tamiyo_policy.growth.environment; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


TRAINED = """
import hashlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_model as at
kinds = np.array(list(at.BLUEPRINTS))[np.arange(15).reshape(5, 3) % len(at.BLUEPRINTS)]
none = np.zeros(kinds.shape, np.bool_)
what = at.SeedSetting(kinds, np.full(kinds.shape, 0.7, np.float32), kinds % 3, none)
model = at.build(at.CompiledModel, what)
at.train_once(model, what, none, *at.samples(1))
print(hashlib.sha256(b"".join(part.detach().numpy().tobytes() for part in at.parameters(model))).hexdigest())
"""


@pytest.mark.slow
def test_a_process_that_compiles_computes_what_one_does_that_finds_everything_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", TRAINED, str(Path(__file__).parent)]
    compiling, finding = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert list(tmp_path.rglob("*.nbc"))
    assert compiling == finding
