"""Sketched isotropic Gaussian regularisation (SIGReg of LeJEPA, Balestriero and LeCun 2025).

Predictions whose projections onto random directions are all standard normal are isotropic Gaussian (Cramér and Wold
1936), so they cannot have collapsed. Whether a projection is standard normal is measured by the statistic of Epps and
Pulley (1983), which compares characteristic functions and costs a number of operations linear in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sightline.jepa.losses.losses import LossParts

_REACH = 5.0  # of the integral; beyond it the weight is below 4e-6
_POINTS = 17  # of the trapezoidal rule, the paper's number; on [0, reach], as the integrand is even


def sigreg_loss(predictions: Tensor, directions: Tensor) -> LossParts:
    """Compute the mean Epps-Pulley statistic of projected predictions.

    Predictions are multiplied by sqrt(D) first: isotropic unit vectors then have standard deviation 1 along every
    direction, and for large D their projections are close to normal.

    Args:
        predictions: `[B, D]`, unit rows.
        directions: `[M, D]`, drawn from an isotropic distribution; their lengths do not matter.

    Returns:
        `loss`, the mean over directions, and `worst`, the largest of them.

    Raises:
        ValueError: there are no predictions.
    """
    if not len(predictions):
        raise ValueError("sigreg needs at least one prediction")
    scaled = predictions * predictions.shape[1] ** 0.5
    statistics = epps_pulley(scaled @ functional.normalize(directions, dim=1).T)
    return {"loss": statistics.mean(), "worst": statistics.max().detach()}


def epps_pulley(samples: Tensor) -> Tensor:
    """Return how far samples are from standard normal, `[M]` from `[N, M]`: M samples of N numbers.

    `N int |mean_n exp(i t x_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`, by the trapezoidal rule. For N numbers that are
    standard normal the expectation is `sqrt(2 pi) - sqrt(2 pi / 3)`, about 1.06, whatever N. The rule is exact to a
    thousandth for numbers within -8 and 8, eight standard deviations; those further out are seen as nearer than they
    are.
    """
    points = torch.linspace(0, _REACH, _POINTS, dtype=samples.dtype, device=samples.device)
    normal = torch.exp(-points.square() / 2)
    angles = samples[..., None] * points
    difference = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
    return 2 * len(samples) * torch.trapezoid(difference * normal, points, dim=-1)
