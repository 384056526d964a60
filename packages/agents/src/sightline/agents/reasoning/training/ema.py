"""An exponential moving average of weights, for evaluation and saving."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average of a model's parameters over its optimiser steps.

    After step t the average moves by 1 - min(decay, (t + 1) / (t + 10)): a short run would otherwise be evaluated
    mostly on its initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's present parameters."""
        decay = min(self.decay, (self.steps + 1) / (self.steps + 10))
        names, parameters = zip(*model.named_parameters(), strict=True)
        torch._foreach_lerp_([self.weights[name] for name in names], list(parameters), 1 - decay)
        self.steps += 1

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the average for good."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.weights[name])

    @contextmanager
    def applied(self, model: nn.Module) -> Generator[None]:
        """Lend the average to the model for the length of a block; its own weights return bit for bit."""
        own: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            own[name] = parameter.data
            parameter.data = self.weights[name]
        try:
            yield
        finally:
            for name, parameter in model.named_parameters():
                parameter.data = own[name]
