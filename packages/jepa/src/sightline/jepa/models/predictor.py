"""Predict the embedding of the right source from a question and a steering vector.

Knows embeddings only: neither texts, nor categories, nor where steering comes from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.jepa.config import PredictorConfig
from sightline.jepa.models.inputs import check_inputs


class SteeredResidual(nn.Module):
    """`q + a s + q A + s B + g(q, s)`, of which A, B and the last layer of g start at zero.

    A and B are the linear adapter; g is a perceptron with one hidden layer whose question half is modulated by the
    steering half (FiLM, Perez et al. 2018), so that what steering does can depend on the question. Where no steering
    is given, g sees a learned token and the other steering terms vanish.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        dimension, hidden = config.dimension, config.hidden_dimension
        self.dimension = dimension
        self.steering_weight = nn.Parameter(torch.tensor(config.steering_weight))
        self.no_steering = nn.Parameter(torch.randn(dimension) / dimension**0.5)
        self.question_map = nn.Linear(dimension, dimension, bias=False)
        self.steering_map = nn.Linear(dimension, dimension, bias=False)
        self.question_hidden = nn.Linear(dimension, hidden)
        self.modulation = nn.Linear(dimension, 2 * hidden)
        self.output = nn.Linear(hidden, dimension)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.dropout = nn.Dropout(config.dropout)
        for layer in (self.question_map, self.steering_map, self.output):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return the unnormalised prediction `[B, D]`.

        With a steering strength o it is `u + o (v - u)`, u being the prediction without steering and v that with it: 0
        ignores steering, 1 is as trained, more than 1 exaggerates.

        Args:
            question: `[B, D]` float, unit rows.
            steering: `[B, D]` float, unit rows; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength o.

        Raises:
            ValueError: a shape or dtype does not fit.
        """
        check_inputs(question, steering, has_steering, self.dimension)
        steered = self._prediction(question, steering, has_steering)
        if steering_strength == 1.0:
            return steered
        unsteered = self._prediction(question, steering, torch.zeros_like(has_steering))
        return unsteered + steering_strength * (steered - unsteered)

    def steering_direction(self, steering: Tensor) -> Tensor:
        """Return what steering `[n, D]` adds to every unnormalised prediction, whatever the question: `a s + s B`."""
        return self.steering_weight * steering + self.steering_map(steering)

    def _prediction(self, question: Tensor, steering: Tensor, has_steering: Tensor) -> Tensor:
        vectors = torch.where(has_steering[:, None], steering, 0.0)
        seen = torch.where(has_steering[:, None], steering, self.no_steering)
        noisy_question, noisy_vectors = self.input_dropout(question), self.input_dropout(vectors)
        scale, shift = self.modulation(self.input_dropout(seen)).chunk(2, dim=1)
        hidden = functional.gelu(self.question_hidden(noisy_question) * (1 + scale) + shift)
        return (
            question
            + self.question_map(noisy_question)
            + self.steering_direction(noisy_vectors)
            + self.output(self.dropout(hidden))
        )


class SteeredPredictor(nn.Module):
    """The plain predictor: (question, steering) -> unit vector in the space of the sources.

    Untrained it is the Rocchio average `unit(q + a s)` (Rocchio 1971, with the steering vector as the only relevant
    document), and the question itself where no steering is given.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.residual = SteeredResidual(config)

    def forward(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return predicted sources `[B, D]`, unit rows; the arguments are those of `SteeredResidual.forward`."""
        return functional.normalize(self.residual(question, steering, has_steering, steering_strength), dim=1)

    @torch.no_grad()
    def predict(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Predict as `forward` does, without gradients and dropout, whatever mode the module is in."""
        return in_evaluation_mode(self, question, steering, has_steering, steering_strength)


def in_evaluation_mode(module: nn.Module, *inputs: object, **options: object) -> Any:
    """Call a module in evaluation mode and leave it in the mode it was in."""
    training = module.training
    module.eval()
    try:
        return module(*inputs, **options)
    finally:
        module.train(training)
