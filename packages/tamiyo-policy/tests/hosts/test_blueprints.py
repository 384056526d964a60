import math

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.operations import MLP_SMALL, NOOP

BLUEPRINTS = token_blueprints()
COUNTS = {"attention": 256, "norm": 17, "mixer": 256, "lora": 32, "mlp2x": 272, "wide4x": 544}


def slow_residual(name, parts, sample):
    """The residual of one sample [tokens, channels] in float64, token by token."""
    parts = [part.astype(np.float64) for part in parts]
    if name == "norm":
        gain, shift, scale = parts
        normal = (sample - sample.mean(1, keepdims=True)) / np.sqrt(sample.var(1, keepdims=True) + 1e-5)
        return np.tanh(scale) * (normal * gain + shift)
    if name == "lora":
        return np.stack([parts[1] @ (parts[0] @ token) for token in sample])
    if name == "mixer":
        return parts[0] @ sample
    if name == "attention":
        query, key, value = (sample @ part.T for part in parts[:3])
        scores = query @ key.T / math.sqrt(8)
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        return weights @ value @ parts[3].T
    inner, bias, outer = parts
    return np.stack([outer @ np.maximum(inner @ token + bias, 0) for token in sample])


@pytest.mark.parametrize("index", BLUEPRINTS)
def test_a_module_at_birth_adds_exactly_nothing(index, generator):
    x = torch.randn(2, 8, 5, 16) * 100
    drawn = torch.from_numpy(np.stack([BLUEPRINTS[index].draw(generator) for _ in range(2)]))
    assert not BLUEPRINTS[index].apply(drawn, x).any()


@pytest.mark.parametrize("index", BLUEPRINTS)
def test_a_module_at_birth_can_learn(index, generator):
    drawn = torch.from_numpy(BLUEPRINTS[index].draw(generator))[None].requires_grad_()
    residual = BLUEPRINTS[index].apply(drawn, torch.randn(1, 8, 5, 16))
    (gradient,) = torch.autograd.grad((residual * torch.randn_like(residual)).sum(), drawn)
    assert gradient.abs().max() > 1e-3


def test_a_seed_gives_the_module_that_it_always_gave():
    drawn = BLUEPRINTS[MLP_SMALL].draw(np.random.default_rng(0))
    np.testing.assert_allclose(drawn[:4], [0.0629, -0.0661, 0.3202, 0.0525], atol=1e-4)


@pytest.mark.parametrize("index", BLUEPRINTS)
def test_stacked_modules_agree_with_a_slow_computation_of_each_sample(index, generator):
    blueprint = BLUEPRINTS[index]
    flat = generator.standard_normal((3, blueprint.parameter_count + 9)).astype(np.float32) / 2
    x = generator.standard_normal((3, 8, 4, 16)).astype(np.float32)
    stacked = blueprint.apply(torch.from_numpy(flat), torch.from_numpy(x)).numpy()
    for module in range(3):
        pieces = np.split(flat[module, : blueprint.parameter_count], np.cumsum(blueprint.sizes)[:-1])
        parts = [piece.reshape(shape) for piece, shape in zip(pieces, blueprint.shapes, strict=True)]
        for sample in range(4):
            slow = slow_residual(blueprint.name, parts, x[module, :, sample].T.astype(np.float64))
            np.testing.assert_allclose(stacked[module, :, sample], slow.T, atol=1e-4)


def test_the_modules_have_the_documented_sizes_and_the_ids_they_are_filed_under():
    assert {module.name: module.parameter_count for module in BLUEPRINTS.values()} == COUNTS
    assert all(module.index == index for index, module in BLUEPRINTS.items())
    assert NOOP not in BLUEPRINTS
