import copy
import math

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import FAMILIES
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import ATTENTION, LORA, MLP, NORM
from sightline.tamiyo_policy.hosts.slots import Operator
from sightline.tamiyo_policy.hosts.stacked import autograd
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting, evaluation_routes, training_routes

BLUEPRINTS = token_blueprints()


def build(num_networks):
    model = AutogradModel(TokenHost(), BLUEPRINTS, num_networks, channels=8)
    for network in range(num_networks):
        model.draw_host(network, FAMILIES[network % 5], np.random.default_rng(network))
    return model


def setting(blueprint, alpha, operator=0, straight_through=False):
    blueprint = np.array(blueprint, np.int64)
    full = np.broadcast_to
    return SeedSetting(
        blueprint,
        np.array(full(np.float32(alpha), blueprint.shape)),
        np.array(full(np.int64(operator), blueprint.shape)),
        np.array(full(np.bool_(straight_through), blueprint.shape)),
    )


def plant_all(model, what, scramble=False):
    for network, slot in zip(*np.nonzero(what.blueprint >= 0), strict=True):
        model.plant(network, slot, int(what.blueprint[network, slot]), np.random.default_rng(7))
    if scramble:
        model.seed_parameters += 0.3 * torch.randn(
            model.seed_parameters.shape, generator=torch.Generator().manual_seed(1)
        )


def batches(num_networks, count=2, size=8):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, num_networks, 4, size, 16, generator=generator)
    return inputs, torch.randint(10, (count, num_networks, size), generator=generator)


def train(model, what, frozen=False, **sizes):
    inputs, labels = batches(len(what.alpha), **sizes)
    return model.train(what, np.full(what.alpha.shape, frozen), inputs, labels)


def evaluate(model, what, networks=None, alpha=None):
    inputs, labels = batches(1, 1, 30)
    networks = np.arange(len(what.alpha)) if networks is None else np.array(networks)
    alpha = what.alpha if alpha is None else np.array(alpha, np.float32)
    return model.evaluate(what, networks, alpha, inputs[0, 0], labels[0, 0])


@pytest.mark.parametrize("operator", list(Operator))
@pytest.mark.parametrize("index", BLUEPRINTS)
def test_a_seed_at_birth_changes_nothing_at_full_alpha_under_any_operator(index, operator):
    model = build(2)
    plain, grown = setting([[-1] * 3] * 2, 0), setting([[index] * 3] * 2, 1, operator)
    plant_all(model, grown)
    assert np.array_equal(evaluate(model, plain)[1], evaluate(model, grown)[1])


def slow_host(model, network, inputs, blend):
    """Logits of one network; `blend(slot, hidden)` replaces what the slot does."""
    stages = model.host_parameters[network : network + 1].split(model.host.stage_sizes, dim=1)
    hidden = model.host.stem(stages[0], inputs)
    for slot in range(3):
        hidden = model.host.block(slot, stages[slot + 1], model.constants[network : network + 1], hidden, inputs)
        hidden = blend(slot, hidden)
    return model.host.readout(stages[-1], hidden)


@pytest.mark.parametrize("operator", list(Operator))
def test_operators_blend_as_their_formulas_say(operator):
    model = build(2)
    what = setting([[NORM, -1, MLP], [ATTENTION, LORA, -1]], 0.37, operator)
    plant_all(model, what, scramble=True)
    inputs, labels = batches(1, 1, 30)

    def blend(network):
        def run(slot, h):
            kind = int(what.blueprint[network, slot])
            if kind < 0:
                return h
            own = model.seed_parameters[network, slot]
            s = h + BLUEPRINTS[kind].apply(own[None], h)
            if operator == Operator.MULTIPLY:
                return h * (1 + 0.37 * torch.tanh(s - h))
            gate = 1.0
            if operator == Operator.GATE:
                gate = torch.sigmoid((own[-9:-1, None] * h[0].mean(2)).sum(0) + own[-1])[None, None, :, None]
            return h + 0.37 * gate * (s - h)

        return run

    found = evaluate(model, what)[1]
    for network in range(2):
        logits = slow_host(model, network, inputs[:1, 0], blend(network))
        expected = torch.nn.functional.cross_entropy(logits[0].T, labels[0, 0])
        assert abs(found[network] - float(expected)) < 1e-4


def test_a_straight_through_seed_learns_without_any_effect_on_its_host():
    with_seeds, without = build(3), build(3)
    growing, nothing = setting([[MLP, NORM, LORA]] * 3, 0, straight_through=True), setting([[-1] * 3] * 3, 0)
    plant_all(with_seeds, growing)
    born = with_seeds.seed_parameters.clone()
    losses = train(with_seeds, growing)[0], train(without, nothing)[0]
    assert torch.equal(*losses)
    assert torch.equal(with_seeds.host_parameters, without.host_parameters)
    assert bool(((with_seeds.seed_parameters - born).abs().amax(2) > 1e-4).all())


def test_a_straight_through_seed_gets_the_gradient_of_a_seed_at_full_alpha():
    norms = []
    for through in (True, False):
        model = build(2)
        what = setting([[-1, -1, MLP]] * 2, 1 - through, straight_through=through)
        plant_all(model, what)
        norms.append(train(model, what, count=1)[2])
    torch.testing.assert_close(*norms)


def test_a_straight_through_seed_full_of_nan_does_not_reach_its_host():
    model, clean = build(2), build(2)
    what = setting([[MLP, -1, NORM]] * 2, 0, straight_through=True)
    plant_all(model, what)
    model.seed_parameters[:, 0] = math.nan
    train(model, what)
    train(clean, setting([[-1] * 3] * 2, 0))
    assert torch.equal(model.host_parameters, clean.host_parameters)


def test_frozen_seeds_run_but_do_not_learn():
    model = build(2)
    what = setting([[MLP, NORM, -1]] * 2, 0.5)
    plant_all(model, what, scramble=True)
    seeds, host = model.seed_parameters.clone(), model.host_parameters.clone()
    train(model, what, frozen=True)
    assert torch.equal(model.seed_parameters, seeds)
    assert not torch.equal(model.host_parameters, host)


def test_parameters_that_a_family_lacks_stay_zero():
    model = build(5)
    train(model, setting([[-1] * 3] * 5, 0))
    assert not model.host_parameters[~model.trainable].any()


def test_a_planted_seed_has_no_past_in_the_optimiser():
    model = build(1)
    what = setting([[MLP, NORM, -1]], 1)
    plant_all(model, what, scramble=True)
    train(model, what)
    neighbour = model.seed_adam.mean[0, 1].clone()
    model.plant(0, 0, LORA, np.random.default_rng(0))
    assert model.seed_adam.steps[0].tolist() == [0, 2, 0]
    assert not model.seed_adam.mean[0, 0].any()
    assert not model.seed_adam.square[0, 0].any()
    assert torch.equal(model.seed_adam.mean[0, 1], neighbour)
    assert not model.seed_parameters[0, 0, BLUEPRINTS[LORA].parameter_count :].any()


def test_a_blueprint_that_cannot_be_grown_is_refused():
    with pytest.raises(ValueError, match="blueprint 5 cannot be grown here"):
        build(1).plant(0, 0, 5, np.random.default_rng(0))


def test_gradients_of_a_growing_network_agree_with_finite_differences():
    model = build(5)
    what = setting([[MLP, NORM, LORA], [ATTENTION, 4, 10], [-1, MLP, 4], [4, -1, NORM], [LORA, ATTENTION, -1]], 0.6)
    what.operator[:] = [[0, 1, 2], [2, 0, 0], [0, 2, 1], [1, 0, 0], [0, 0, 0]]
    plant_all(model, what, scramble=True)
    model.constants = model.constants.double()
    routes = training_routes(what, torch.device("cpu"))
    hosts = model.host_parameters.double().requires_grad_()
    seeds = [model.seed_parameters[route.modules, slot].double() for slot, route in enumerate(routes)]
    inputs = batches(5)[0][0].double()
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 10, 8, generator=generator, dtype=torch.float64)
    points = [hosts, *(part.requires_grad_() for part in seeds)]

    def value(points):
        return (model._forward(None, routes, points[0], points[1:], inputs) * weight).sum()

    for index, gradient in enumerate(torch.autograd.grad(value(points), points)):
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [point.detach() for point in points]
            moved[index] = moved[index] + step * direction
            ends.append(float(value(moved)))
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_a_stack_agrees_with_its_networks_one_by_one():
    blueprint = [[MLP, -1, NORM], [ATTENTION, LORA, -1], [-1, -1, -1], [4, 10, MLP], [NORM, 4, 8], [2, 3, 4]]
    operator = [[0, 0, 1], [2, 1, 0], [0, 0, 0], [0, 2, 0], [1, 0, 0], [0, 0, 0]]
    what = setting(blueprint, 0.6, operator)
    what.straight_through[0, 2] = what.straight_through[3, 1] = True
    stack = build(6)
    plant_all(stack, what, scramble=True)
    inputs, labels = batches(6, 6, 16)
    frozen = np.zeros((6, 3), np.bool_)
    singles = []
    for network in range(6):
        single = AutogradModel(TokenHost(), BLUEPRINTS, 1, channels=8)
        mine = {name: tensor[network : network + 1] for name, tensor in stack.state_dict().items()}
        single.load_state_dict(mine)
        own = SeedSetting(*(getattr(what, name)[network : network + 1] for name in SeedSetting.__dataclass_fields__))
        single.train(own, frozen[:1], inputs[:, network : network + 1], labels[:, network : network + 1])
        singles.append(single)
    stack.train(what, frozen, inputs, labels)
    for name in ("host_parameters", "seed_parameters"):
        torch.testing.assert_close(
            getattr(stack, name), torch.cat([getattr(single, name) for single in singles]), atol=1e-4, rtol=0
        )


def test_one_pass_over_many_alphas_agrees_with_a_pass_for_each():
    model = build(3)
    what = setting([[MLP, NORM, LORA], [-1, ATTENTION, MLP], [-1, -1, -1]], 1)
    plant_all(model, what, scramble=True)
    networks = [2, 0, 0, 0, 1, 0, 1, 1, 0]
    alpha = [[0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0.3, 1], [0.5, 1, 1]]
    together = evaluate(model, what, networks, alpha)
    for row, (network, share) in enumerate(zip(networks, alpha, strict=True)):
        alone = evaluate(model, what, [network], [share])
        np.testing.assert_allclose([part[row] for part in together], [part[0] for part in alone], atol=1e-5)


@pytest.mark.parametrize(("at_once", "many"), [((7, 3), 1000), ((7, 3), 1), ((1, 1), 1000)])
def test_samples_may_be_measured_in_parts_of_any_size(at_once, many, monkeypatch):
    model = build(3)
    what = setting([[MLP, NORM, LORA], [-1, ATTENTION, MLP], [-1, -1, -1]], 1)
    plant_all(model, what, scramble=True)
    whole = evaluate(model, what)
    monkeypatch.setattr(autograd, "_EVALUATED_AT_ONCE", at_once)
    monkeypatch.setattr(autograd, "_MANY_ROWS", many)
    np.testing.assert_allclose(evaluate(model, what), whole, atol=1e-5)


def test_rows_are_shared_until_their_alphas_part():
    what = setting([[MLP, NORM, LORA]], 1)
    alpha = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], np.float32)
    start, routes, wanted = evaluation_routes(what, np.zeros(5, np.int64), alpha, torch.device("cpu"))
    assert [len(start), *[len(route.parents) for route in routes if route.parents is not None]] == [1, 2, 4, 5]
    assert sorted(wanted.tolist()) == [0, 1, 2, 3, 4]


def test_evaluation_changes_nothing():
    model = build(3)
    what = setting([[MLP, NORM, LORA]] * 3, 0.5)
    plant_all(model, what, scramble=True)
    before, kept = model.state_dict(), copy.deepcopy(what)
    evaluate(model, what, [0, 1, 2], [[0, 0, 0]] * 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert np.array_equal(what.alpha, kept.alpha)


def test_a_saved_stack_goes_on_bit_for_bit():
    what = setting([[MLP, NORM, LORA]] * 3, 0.5)
    model, other = build(3), AutogradModel(TokenHost(), BLUEPRINTS, 3, channels=8)
    plant_all(model, what)
    train(model, what)
    other.load_state_dict(model.state_dict())
    train(model, what)
    train(other, what)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_a_saved_stack_of_another_size_is_refused_and_nothing_changes():
    model = build(2)
    before = model.host_parameters.clone()
    with pytest.raises(ValueError, match="the saved networks differ from these"):
        model.load_state_dict(build(3).state_dict())
    assert torch.equal(model.host_parameters, before)


def test_a_setting_with_fields_of_unequal_shapes_is_refused():
    fields = np.zeros((2, 3), np.int64), np.zeros((2, 2), np.float32), np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match="one shape"):
        SeedSetting(*fields, np.zeros((2, 3), np.bool_))


def test_sizes_count_modules_gates_and_trained_host_parameters():
    model = build(2)
    sizes = model.seed_sizes(np.array([[MLP, -1, NORM]]), np.array([[0, 2, 2]]))
    assert sizes.tolist() == [[544, 0, 26]]
    assert model.host_sizes().tolist() == [466, 1234]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_stack_on_a_cuda_device_agrees_with_one_on_the_cpu():
    what = setting([[MLP, NORM, LORA], [ATTENTION, 4, -1]], 0.5)
    model = build(2)
    plant_all(model, what, scramble=True)
    other = AutogradModel(TokenHost(), BLUEPRINTS, 2, channels=8, device="cuda")
    other.load_state_dict(model.state_dict())
    inputs, labels = batches(2)
    frozen = np.zeros((2, 3), np.bool_)
    model.train(what, frozen, inputs, labels)
    other.train(what, frozen, inputs.cuda(), labels.cuda())
    torch.testing.assert_close(other.host_parameters.cpu(), model.host_parameters, atol=1e-3, rtol=0)
