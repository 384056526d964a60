"""Random numbers that belong to a root: functions of its seed alone, whatever else is searched beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TIE_NOISE = 1e-7


def root_seeds(seed: int, roots: int) -> NDArray[np.uint64]:
    """One seed for each of so many roots, from one for all."""
    return np.random.SeedSequence(seed).generate_state(roots, np.uint64).astype(np.uint64, copy=False)


def as_seeds(seeds: Sequence[int]) -> NDArray[np.uint64]:
    """Given seeds, of which the lowest 64 bits count, `[roots]`."""
    return np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=np.uint64)


def mix_bits(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit numbers evenly over all of them: the output function of SplitMix64 (Steele et al. 2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def uniform(seeds: NDArray[np.uint64], width: int, stream: int) -> NDArray[np.float64]:
    """Return numbers in (0, 1), `[seeds, width]`; other streams give others."""
    counters = np.arange(1 + stream * width, 1 + (stream + 1) * width, dtype=np.uint64)
    bits = mix_bits(mix_bits(seeds)[:, None] + counters * _GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def gumbel(seeds: NDArray[np.uint64], width: int) -> NDArray[np.float64]:
    """Return draws of the standard Gumbel distribution, `[seeds, width]`."""
    return -np.log(-np.log(uniform(seeds, width, 0)))


def tie_breaks(seeds: NDArray[np.uint64], width: int) -> NDArray[np.float64]:
    """Return what to add to logits so that equal ones differ, too little to matter otherwise, `[seeds, width]`."""
    return TIE_NOISE * uniform(seeds, width, 1)


def dirichlet(seeds: NDArray[np.uint64], legal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return draws over the legal actions with alpha = 10 / their number (Silver et al. 2018), `[seeds, A]`."""
    draws = np.zeros(legal.shape)
    for row, (seed, actions) in enumerate(zip(seeds.tolist(), legal, strict=True)):
        if number := int(actions.sum()):
            draws[row, actions] = np.random.default_rng([seed, 2]).dirichlet(np.full(number, 10 / number))
    return draws
