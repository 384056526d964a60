"""The optimiser of a run: which parameters decay towards the untrained model, and which learn faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.models.scorer import FilterAwareScorer


def make_optimizer(config: JEPAConfig, predictor: nn.Module, parameters: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    """Make an AdamW that decays matrices towards zero, which is the untrained prediction, and leaves scalars.

    Each group has a `rate`, the factor of the learning rate that whoever sets it applies: the numbers of a scorer's
    filter go by orders of magnitude, entries of a matrix by hundredths. AdamW multiplies decay by the rate, too.

    Args:
        config: configuration of the run.
        predictor: what is trained.
        parameters: everything that is trained, the predictor's parameters among it.
    """
    rates: dict[Tensor, float] = {}
    if isinstance(predictor, FilterAwareScorer):
        rates = dict.fromkeys(predictor.maps, config.scorer.map_rate)
        rates |= dict.fromkeys(predictor.scalars, config.scorer.scalar_rate)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        decay = config.training.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((decay, rates.get(parameter, 1.0)), []).append(parameter)
    settings = [{"params": each, "weight_decay": decay, "rate": rate} for (decay, rate), each in groups.items()]
    return torch.optim.AdamW(settings, lr=config.training.learning_rate)
