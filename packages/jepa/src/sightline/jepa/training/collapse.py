"""Numbers that show when predictions stop telling questions apart.

Diagnostics, not targets: compare them with the same numbers of the sources, never across embedders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_SCORES = 1 << 24  # cosines held at once, 64 MiB


@dataclass(frozen=True, slots=True)
class CollapseReport:
    """How spread out a set of vectors is."""

    rank_me: float
    """Effective rank, between 1 (all on a line) and D."""
    scaled_deviation: float
    """Mean standard deviation of a coordinate times sqrt(D): 1 if isotropic, 0 if constant."""
    mean_cosine: float
    """Mean cosine of two different rows; 1 if constant."""
    hubness: float
    """Skewness of how often a source is among the k nearest of a prediction; 0 if shared evenly."""
    distinct_nearest: float
    """Distinct nearest sources per prediction, 1 if none is the nearest of two."""


@torch.no_grad()
def measure_collapse(predictions: Tensor, sources: Tensor, k: int = 10) -> CollapseReport:
    """Measure predictions `[n, D]` (unit rows, n >= 2) against sources `[S, D]` (unit rows).

    Args:
        predictions: predictions of a model for n different questions.
        sources: the corpus.
        k: neighbours that count for hubness.

    Raises:
        ValueError: there are fewer than two predictions, or no k sources.
    """
    if len(predictions) < 2 or not 1 <= k <= len(sources):
        raise ValueError(
            f"collapse needs at least two predictions and k <= sources; there are {len(predictions)} predictions, "
            f"{len(sources)} sources, and k is {k}"
        )
    blocks = predictions.split(max(1, _BLOCK_SCORES // len(sources)))
    nearest = torch.cat([(block @ sources.T).topk(k, dim=1).indices for block in blocks])
    occurrences = torch.bincount(nearest.flatten(), minlength=len(sources)).to(torch.float64)
    return CollapseReport(
        rank_me=rank_me(predictions),
        scaled_deviation=float(predictions.std(dim=0).mean() * predictions.shape[1] ** 0.5),
        mean_cosine=mean_cosine(predictions),
        hubness=_skewness(occurrences),
        distinct_nearest=len(nearest[:, 0].unique()) / len(predictions),
    )


def rank_me(vectors: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of `[n, D]` (Garrido et al. 2023, equation 1)."""
    values = torch.linalg.svdvals(vectors.double())
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine of two different rows of `[n, D]` (unit, n >= 2): `(|sum|^2 - n) / (n (n - 1))`."""
    count = len(vectors)
    return float((vectors.double().sum(dim=0).square().sum() - count) / (count * (count - 1)))


def _skewness(values: Tensor) -> float:
    """Return the third standardised moment; 0 for values that are all the same."""
    centred = values - values.mean()
    deviation = centred.square().mean().sqrt()
    return float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0
