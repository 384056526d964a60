"""Numbers that change over training, as functions of the step."""

from __future__ import annotations

import math

from sightline.jepa.config import JEPATrainingConfig

_FINAL_SHARE = 0.01  # of the peak learning rate


def cosine(start: float, end: float, progress: float) -> float:
    """Return half a cosine from `start` at progress 0 to `end` at progress 1; constant outside."""
    clipped = min(max(progress, 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * clipped)) / 2


def learning_rate_at(step: int, steps_per_epoch: int, config: JEPATrainingConfig) -> float:
    """Return the learning rate of a step from 0: linear warm-up, then a cosine to 1 % of the peak at the end."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    remaining = max(1, config.epochs * steps_per_epoch - warmup)
    return cosine(config.learning_rate, _FINAL_SHARE * config.learning_rate, (step - warmup) / remaining)
