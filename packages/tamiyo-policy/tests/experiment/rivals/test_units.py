import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.experiment.rivals.units import (
    Units,
    as_layers,
    as_parameters,
    as_positions,
    no_units,
    random_units,
    units_blueprint,
)

D, B, S = 3, 5, 4
MODULE = units_blueprint(D, S, (2, 3))


def drawn_units(count: int, size: int, generator: np.random.Generator) -> Units:
    def normal(*shape):
        return torch.from_numpy(generator.standard_normal(shape)).float()

    return Units(normal(count, size), normal(count), normal(size, count))


def test_a_module_adds_what_its_layers_add_by_hand(generator):
    layers = [drawn_units(2, D, generator), drawn_units(1, S, generator)]
    x = torch.from_numpy(generator.standard_normal((D, B, S))).float()
    expected = torch.zeros_like(x)
    for sample in range(B):
        for read, units, axis in ((x[:, sample], layers[0], 0), (x[:, sample].T, layers[1], 1)):
            for inner, bias, outer in zip(units.inner, units.bias, units.outer.T, strict=True):
                added = outer[:, None] * (inner @ read + bias).clamp(min=0)[None]
                expected[:, sample] += added if axis == 0 else added.T
    parameters = as_parameters(layers, MODULE)
    torch.testing.assert_close(MODULE.apply(parameters[None], x[None])[0], expected)
    channels, tokens = as_positions(x)
    together = layers[0].added(channels).view_as(x) + layers[1].added(tokens).T.reshape(x.shape)
    torch.testing.assert_close(together, expected)


def test_layers_come_back_as_they_were_put_in(generator):
    layers = [drawn_units(1, D, generator), drawn_units(3, S, generator)]
    parameters = as_parameters(layers, MODULE)
    assert len(parameters) == MODULE.parameter_count == 2 * (2 * D + 1) + 3 * (2 * S + 1)
    for held, put in zip(as_layers(parameters, MODULE), layers, strict=True):
        used = held.chosen(torch.arange(len(put)))
        for name in ("inner", "bias", "outer"):
            assert torch.equal(getattr(used, name), getattr(put, name))


def test_unused_units_add_nothing_and_get_no_gradient(generator):
    parameters = as_parameters([drawn_units(1, D, generator), no_units(S)], MODULE).requires_grad_()
    x = torch.from_numpy(generator.standard_normal((1, D, B, S))).float()
    MODULE.apply(parameters[None], x).square().sum().backward()
    used = as_parameters([Units(torch.ones(1, D), torch.ones(1), torch.ones(D, 1)), no_units(S)], MODULE) > 0
    assert parameters.grad is not None
    assert torch.equal(parameters.grad != 0, used)


def test_more_units_than_there_is_room_for_are_refused(generator):
    with pytest.raises(ValueError, match="no room"):
        as_parameters([drawn_units(3, D, generator), no_units(S)], MODULE)


def test_new_units_read_a_direction_of_length_one_and_add_nothing(generator):
    units = random_units(6, S, generator)
    torch.testing.assert_close(units.inner.norm(dim=1), torch.ones(6))
    assert units.parameter_count == 6 * 9
    assert not units.added(torch.ones(S, B)).any()
