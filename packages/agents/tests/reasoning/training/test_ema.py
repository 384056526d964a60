from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sightline.agents.reasoning.training.ema import AveragedWeights


def test_the_average_follows_its_formula_with_the_warm_up() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    values = np.random.default_rng(0).normal(size=120)
    with torch.no_grad():
        model.weight.fill_(3.0)
    averaged = AveragedWeights(model, 0.9)
    expected = 3.0
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update(model)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(averaged.weights["weight"].item(), expected)


def test_lending_the_average_leaves_the_weights_as_they_were() -> None:
    model = nn.Linear(3, 2)
    averaged = AveragedWeights(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    moved = {name: value.clone() for name, value in model.state_dict().items()}
    with averaged.applied(model):
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, moved[name]) for name, value in model.state_dict().items())
    averaged.copy_to(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
