from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.experiment.rivals.growing import (
    LEAST_RISE,
    STEP,
    Sight,
    begin,
    empty_layers,
    firefly_splits,
    firefly_units,
    gradmax_units,
    grown_parameters,
    wider,
)
from sightline.tamiyo_policy.experiment.rivals.units import Units

D, S, M, SLOTS = 3, 4, 40, 3
NAMES = ("Net2Net", "GradMax", "Firefly", "AutoGrow")


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def drawn_units(count, size):
    return Units(normal(1, count, size), normal(2, count), normal(3, size, count))


def sight(left, *, layers=None, severed=(), accuracy=50.0, seed=0):
    sizes = (D, S) * SLOTS
    inputs = [normal(10 + place, size, M) for place, size in enumerate(sizes)]
    gradients = [normal(20 + place, size, M) * (place // 2 not in severed) for place, size in enumerate(sizes)]
    grown = layers or empty_layers(D, S, SLOTS)
    return Sight(grown, inputs, gradients, accuracy, left, np.random.default_rng(seed))


def squared_loss(added, target):
    """Return a loss of what a layer adds; its gradient at `added` is `added - target`."""
    return (added - target).double().square().sum() / 2


def test_a_copied_unit_keeps_the_function(generator):
    units, x = drawn_units(3, D), normal(4, D, M)
    copied = wider(units, 1, generator, noise=0)
    assert len(copied) == 4
    torch.testing.assert_close(copied.added(x), units.added(x))
    noisy = wider(units, 1, generator)
    assert not torch.equal(noisy.inner[3], noisy.inner[1])
    torch.testing.assert_close(noisy.added(x), units.added(x), atol=0.1, rtol=0)


def test_net2net_first_fills_all_layers_without_changing_the_function_and_looks_at_nothing():
    whole = (2 * D + 1 + 2 * S + 1) * SLOTS
    layers = begin("Net2Net")(sight(whole))
    assert [len(layer) for layer in layers] == [1] * 6
    assert not any(layer.outer.any() for layer in layers)
    blind = begin("Net2Net")(sight(whole, severed=(0, 1, 2)))
    assert all(torch.equal(one.inner, two.inner) for one, two in zip(layers, blind, strict=True))
    more = begin("Net2Net")(sight(3 * whole, layers=layers))
    assert sum(map(len, more)) > 12


def gradient_length(outer, x, gradient):
    """Return the length of the gradient of the weights in and bias of a unit with weights in of zero, by autograd."""
    inner, bias = torch.zeros(1, len(x), requires_grad=True), torch.zeros(1, requires_grad=True)
    (Units(inner, bias, outer[:, None]).added(x) * gradient).sum().backward()
    assert inner.grad is not None
    assert bias.grad is not None
    return float(torch.cat([inner.grad.ravel(), bias.grad]).norm())


def test_gradmax_keeps_the_function_and_no_direction_of_its_length_has_a_larger_gradient():
    x, gradient = normal(4, D, M), normal(5, D, M)
    units, values = gradmax_units(x, gradient, count=2)
    assert not units.added(x).any()
    outer_product = gradient @ torch.cat([x, torch.ones(1, M)]).T
    top = float(torch.linalg.matrix_norm(outer_product, 2))
    found = gradient_length(units.outer[:, 0], x, gradient)
    assert found == pytest.approx(float(values[0]), rel=1e-4) == pytest.approx(top, rel=1e-4)
    others = [normal(100 + seed, D) for seed in range(200)]
    assert max(gradient_length(outer / outer.norm(), x, gradient) for outer in others) <= found * 1.0001
    assert gradient_length(units.outer[:, 1], x, gradient) == pytest.approx(float(values[1]), rel=1e-4)


def test_the_gain_of_new_units_is_the_finite_difference_of_the_loss(generator):
    x, target = normal(4, D, M), normal(5, D, M)
    units, gains = firefly_units(x, -target, generator)
    start = squared_loss(torch.zeros_like(target), target)
    for at, gain in enumerate(gains.tolist()):
        one = units.chosen(torch.tensor([at]))
        assert float(one.outer.norm()) == pytest.approx(STEP)
        short = 1e-4
        shorter = replace(one, outer=one.outer * short / STEP)
        assert float(start - squared_loss(shorter.added(x), target)) / short == pytest.approx(gain, rel=0.01)


def test_the_gain_of_a_split_is_the_change_of_the_linearised_loss(generator):
    units, x, gradient = drawn_units(2, D), normal(4, D, M), normal(5, D, M)
    halves, gains = firefly_splits(units, x, gradient, generator)
    for at, gain in enumerate(gains.tolist()):
        one = units.chosen(torch.tensor([at]))
        split = halves[0].chosen(torch.tensor([at])).joined(halves[1].chosen(torch.tensor([at])))
        change = ((split.added(x) - one.added(x)) * gradient).sum()
        assert -float(change) / STEP == pytest.approx(gain, abs=1e-3)


def test_firefly_takes_the_best_change_of_all_layers_and_splits_keep_a_layer_close(generator):
    layers = empty_layers(D, S, SLOTS)
    layers[0] = drawn_units(2, D)
    seen = sight(2 * D + 1.0, layers=layers, severed=(1, 2))
    grown = begin("Firefly")(seen)
    assert grown_parameters(grown) == 3 * (2 * D + 1)
    x = seen.inputs[0]
    assert float((grown[0].added(x) - layers[0].added(x)).norm(dim=0).max()) < 2.0


@pytest.mark.parametrize("name", ["GradMax", "Firefly"])
def test_rules_that_see_the_gradient_grow_nothing_in_severed_slots(name):
    layers = begin(name)(sight(1000, severed=(0, 2)))
    grown = [len(layer) for layer in layers]
    assert grown[:2] == grown[4:] == [0, 0]
    assert grown[2]
    assert grown[3]
    assert all(len(layer) == 0 for layer in begin(name)(sight(1000, severed=(0, 1, 2))))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(NAMES), st.floats(0, 200), st.integers(0, 99))
def test_no_rule_spends_more_than_it_may(name, left, seed):
    layers = begin(name)(sight(left, seed=seed))
    assert grown_parameters(layers) <= left
    more = begin(name)(sight(left, layers=layers, seed=seed))
    assert 0 <= grown_parameters(more) - grown_parameters(layers) <= left


def test_autogrow_leaves_slots_whose_module_was_of_no_use_and_ends_when_all_are_left():
    grow, grown, layers = begin("AutoGrow"), [], empty_layers(D, S, SLOTS)
    # the second slot's module is of no use, nor are later the third's and the first's
    for accuracy in (50, 55, 55, 60, 65, 65 + LEAST_RISE / 2, 65, 90, 95):
        before = [len(layer) for layer in layers]
        layers = grow(sight(1000, layers=layers, accuracy=accuracy))
        changed = [at for at, layer in enumerate(layers) if len(layer) != before[at]]
        grown.append({place // 2 for place in changed})
    assert grown == [{0}, {1}, {2}, {0}, {2}, {0}, set(), set(), set()]
    assert len(layers[0]) == 3  # of each module one unit over channels, as one costs almost as much as over tokens
