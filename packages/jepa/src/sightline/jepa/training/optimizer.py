"""The optimiser of a run: which parameters decay towards the untrained model, and which learn faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.models.scorer import FilterAwareScorer


def make_optimizer(config: JEPAConfig, predictor: nn.Module, parameters: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    """Make an AdamW that decays matrices towards zero, which is the untrained prediction, and leaves scalars.

    Each group has a `rate`, the factor of the learning rate that whoever sets it applies: the numbers of a scorer's
    filter go by orders of magnitude, entries of a matrix by hundredths.

    Args:
        config: configuration of the run.
        predictor: what is trained.
        parameters: everything that is trained, the predictor's parameters among it.
    """
    fast = list(predictor.scalars) if isinstance(predictor, FilterAwareScorer) else []
    is_fast = {id(parameter) for parameter in fast}
    others = [parameter for parameter in parameters if id(parameter) not in is_fast]
    groups = [
        {"params": [each for each in others if each.ndim > 1], "weight_decay": config.training.weight_decay, "rate": 1},
        {"params": [each for each in others if each.ndim <= 1], "weight_decay": 0.0, "rate": 1},
        {"params": fast, "weight_decay": 0.0, "rate": config.scorer.scalar_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.training.learning_rate)
