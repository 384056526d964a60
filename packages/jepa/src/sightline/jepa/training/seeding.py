"""Randomness of a training: from its seed and epoch alone, without changing anybody else's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Generator[None]:
    """Seed torch's global generators for one epoch, and put them back afterwards.

    Args:
        seed: seed of the training.
        epoch: number of the epoch, 0 for initial weights.
        device: where the training is.
    """
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(state) >> 1)  # 63 bits, as torch wants them signed
        yield
