"""Losses between predictions and sources, all in one space of unit vectors.

Each returns a dictionary: `loss` is the scalar to minimise, everything else is detached and for the log. Weights are
applied once, by whoever adds the losses up.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sightline.jepa.config import LossConfig

LossParts = dict[str, Tensor]
"""`loss` with gradient, and detached parts or diagnostics."""


def regression_loss(predictions: Tensor, targets: Tensor, kind: str = "cosine") -> LossParts:
    """Compute the distance of unit predictions from their unit targets.

    `cosine`: mean of `1 - p.t`. `smooth_l1`: Huber's loss of the differences times sqrt(D), so that a coordinate
    of an isotropic unit vector has standard deviation 1 and the loss does not shrink with D.

    Args:
        predictions: `[B, D]`, unit rows.
        targets: `[B, D]`, unit rows, without gradient.
        kind: `cosine` or `smooth_l1`.

    Returns:
        `loss` and `cosine`, the mean cosine.

    Raises:
        ValueError: the kind is unknown or the shapes differ.
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions and targets differ in shape: {list(predictions.shape)}, {list(targets.shape)}")
    cosine = (predictions * targets).sum(dim=1).mean()
    if kind == "cosine":
        loss = 1 - cosine
    elif kind == "smooth_l1":
        scale = predictions.shape[1] ** 0.5
        loss = functional.smooth_l1_loss(predictions * scale, targets * scale)
    else:
        raise ValueError(f"kind must be 'cosine' or 'smooth_l1', not {kind!r}")
    return {"loss": loss, "cosine": cosine.detach()}


def corpus_info_nce(
    predictions: Tensor,
    corpus: Tensor,
    targets: Tensor,
    others: tuple[Tensor, Tensor],
    temperature: Tensor | float,
    label_smoothing: float = 0.0,
    added: Tensor | None = None,
) -> LossParts:
    """Compute InfoNCE (van den Oord et al. 2018, equation 4) against every source of the corpus.

    Args:
        predictions: `[B, D]`, unit rows.
        corpus: `[S, D]`, unit rows.
        targets: `[B]` int64, the true source of each row.
        others: (rows, sources), each `[n]` int64: what else answers the rows' questions, the target's duplicates
            among it. These are no negatives; a row's own target must not be among them.
        temperature: divisor of the cosines.
        label_smoothing: share of the target probability spread over all candidates.
        added: `[B, S]`, what scores have on top of the cosines; None for nothing.

    Returns:
        `loss` and `accuracy`, the share of rows whose target beats every negative.

    Raises:
        ValueError: the batch is empty.
    """
    if not len(predictions):
        raise ValueError("info_nce needs at least one prediction")
    logits = (predictions / temperature) @ corpus.T
    return _cross_entropy(logits if added is None else logits + added / temperature, targets, others, label_smoothing)


def batch_info_nce(
    predictions: Tensor,
    sources: Tensor,
    positive: Tensor,
    temperature: Tensor | float,
    mined: Tensor | None = None,
    known: Tensor | None = None,
) -> LossParts:
    """Compute symmetric InfoNCE within a batch, optionally with mined negatives in the direction of the sources.

    The mean of "which of these sources belongs to this question" and "which of these predictions belongs to this
    source". Pairs of the batch that are true besides the row's own are neither positive nor negative.

    Args:
        predictions: `[B, D]`, unit rows.
        sources: `[B, D]`, unit rows; row i is the true source of prediction i.
        positive: `[B, B]` bool, True where source j is known to answer question i; the diagonal does not matter.
        temperature: divisor of the cosines.
        mined: `[B, N, D]`, unit rows, negatives of each prediction, known positives not among them; or `[M, D]`, the
            same for all, as MultipleNegativesRankingLoss shares them.
        known: `[B, M]` bool, with shared ones, True where one is known to answer the question after all.

    Returns:
        `loss`, `forward` and `backward` (the two directions), and `accuracy`.

    Raises:
        ValueError: there are fewer than two rows and no mined negatives, so that nothing is contrasted.
    """
    if len(predictions) < 2 and mined is None:
        raise ValueError("a batch of one pair has nothing to be contrasted with; use larger batches or mined negatives")
    logits = predictions @ sources.T / temperature
    targets = torch.arange(len(predictions), device=predictions.device)
    own = torch.eye(len(predictions), dtype=torch.bool, device=predictions.device)
    others = positive & ~own
    rows, columns = others.nonzero(as_tuple=True)
    backward = _cross_entropy(logits.T, targets, (columns, rows))["loss"]
    if mined is not None:
        extra = predictions @ mined.T if mined.ndim == 2 else torch.einsum("bd,bnd->bn", predictions, mined)
        logits = torch.cat([logits, extra / temperature], dim=1)
        if known is not None:
            rows, columns = torch.cat([others, known], dim=1).nonzero(as_tuple=True)
    forward = _cross_entropy(logits, targets, (rows, columns))
    return {
        "loss": (forward["loss"] + backward) / 2,
        "forward": forward["loss"].detach(),
        "backward": backward.detach(),
        "accuracy": forward["accuracy"],
    }


def candidate_info_nce(scores: Tensor, positive: Tensor, mask: Tensor, temperature: Tensor | float) -> LossParts:
    """Compute InfoNCE of each row among its own candidates, several of which may be right.

    The mean negative log probability that a softmax over a row's candidates falls on any right one: MIL-NCE (Miech et
    al. 2020, equation 1). It asks that some right candidate wins, not that all of them do.

    Args:
        scores: `[B, N]` float; what is masked out does not matter.
        positive: `[B, N]` bool, True for right candidates.
        mask: `[B, N]` bool, True for candidates.
        temperature: divisor of the scores.

    Returns:
        `loss` and `accuracy`, the share of rows whose best candidate is right.

    Raises:
        ValueError: the batch is empty, or a row has no right candidate among its candidates.
    """
    if not len(scores) or not (positive & mask).any(dim=1).all():
        raise ValueError("each row needs a right candidate that is not masked out, and there must be a row")
    logits = (scores.masked_fill(~mask, 0.0) / temperature).masked_fill(~mask, -torch.inf)
    of_positives = logits.masked_fill(~positive, -torch.inf).logsumexp(dim=1)
    best = logits.argmax(dim=1, keepdim=True)
    return {
        "loss": (logits.logsumexp(dim=1) - of_positives).mean(),
        "accuracy": positive.gather(1, best).float().mean(),
    }


def distillation_loss(scores: Tensor, teacher: Tensor, temperature: float = 1.0) -> LossParts:
    """Compute how far a softmax over candidates is from a teacher's (Hinton et al. 2015).

    `T^2 KL(softmax(teacher / T) || softmax(scores / T))`, a mean over rows. The square keeps the gradient's size where
    the temperature is changed. The teacher has no gradient.

    Args:
        scores: `[B, N]`, logits of each row's candidates.
        teacher: `[B, N]`, the teacher's.
        temperature: divisor of both; above 1 it tells more of how the teacher ranks wrong candidates.

    Returns:
        `loss` and `agreement`, the share of rows whose best candidate is the teacher's.

    Raises:
        ValueError: the batch is empty, or the shapes differ.
    """
    if not len(scores) or scores.shape != teacher.shape:
        raise ValueError(f"scores and teacher must be of one shape [B, N]: {list(scores.shape)}, {list(teacher.shape)}")
    student, wanted = (functional.log_softmax(each / temperature, dim=1) for each in (scores, teacher.detach()))
    divergence = (wanted.exp() * (wanted - student)).sum(dim=1).mean()
    agreement = (scores.argmax(dim=1) == teacher.argmax(dim=1)).float().mean()
    return {"loss": temperature**2 * divergence, "agreement": agreement}


def centroid_loss(predictions: Tensor, centroids: Tensor, category: Tensor, temperature: float = 0.1) -> LossParts:
    """Compute the cross-entropy of the true source's category under the cosines to all centroids.

    Args:
        predictions: `[B, D]`, unit rows.
        centroids: `[K, D]`, unit rows.
        category: `[B]` int64 in [0, K).
        temperature: divisor of the cosines.

    Returns:
        `loss` and `accuracy`.
    """
    logits = predictions @ centroids.T / temperature
    accuracy = (logits.argmax(dim=1) == category).float().mean()
    return {"loss": functional.cross_entropy(logits, category), "accuracy": accuracy.detach()}


def steering_loss(directions: Tensor, sources: Tensor, category: Tensor, temperature: Tensor | float) -> LossParts:
    """Compute the cross-entropy of each source's category under inner products with what each steering adds.

    It asks that adding the direction of category k to a prediction raises a source's score by `log P(k | source)`, up
    to what is the same for all categories: a soft filter. It needs no pairs, only the categories by which the index is
    filed, so it can use every source.

    Args:
        directions: `[K, D]`, what steering towards each category adds to an unnormalised prediction.
        sources: `[M, D]`, unit rows.
        category: `[M]` int64 in [0, K), of the sources.
        temperature: divisor of the inner products; that of the contrastive term makes the two scores one scale.

    Returns:
        `loss` and `accuracy`.
    """
    logits = (sources / temperature) @ directions.T
    accuracy = (logits.argmax(dim=1) == category).float().mean()
    return {"loss": functional.cross_entropy(logits, category), "accuracy": accuracy.detach()}


def vicreg_loss(
    predictions: Tensor,
    targets: Tensor,
    variance_weight: float = 25.0,
    invariance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> LossParts:
    """Compute variance, invariance and covariance of Bardes et al. 2022 (equations 1 to 6), for unit vectors.

    Predictions are multiplied by sqrt(D) first: isotropic unit vectors then have standard deviation 1 in each
    coordinate, which is the threshold gamma that the paper sets for unnormalised outputs. Variance and covariance are
    taken of the predictions alone, as the targets have no gradient.

    Args:
        predictions: `[B, D]`, unit rows, B >= 2.
        targets: `[B, D]`, unit rows, without gradient.
        variance_weight: weight of the hinge on the standard deviation.
        invariance_weight: weight of the mean squared difference to the targets.
        covariance_weight: weight of the squared off-diagonal covariances, summed and divided by D.

    Returns:
        `loss`, divided by the sum of the weights, and the unweighted `variance`, `invariance`, `covariance`.

    Raises:
        ValueError: there are fewer than two rows.
    """
    count, dimension = predictions.shape
    if count < 2:
        raise ValueError(f"variance needs at least two predictions, not {count}")
    scaled = predictions * dimension**0.5
    invariance = functional.mse_loss(scaled, targets * dimension**0.5)
    centred = scaled - scaled.mean(dim=0)
    covariances = centred.T @ centred / (count - 1)
    # 1e-4 keeps the gradient of the root finite where a coordinate has collapsed.
    variance = functional.relu(1 - (covariances.diagonal() + 1e-4).sqrt()).mean()
    covariance = (covariances.square().sum() - covariances.diagonal().square().sum()) / dimension
    weighted = variance_weight * variance + invariance_weight * invariance + covariance_weight * covariance
    return {
        "loss": weighted / (variance_weight + invariance_weight + covariance_weight),
        "variance": variance.detach(),
        "invariance": invariance.detach(),
        "covariance": covariance.detach(),
    }


class Temperature(torch.nn.Module):
    """The softmax temperature of cosines: learned as its logarithm and held within [0.01, 1], or constant."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.logarithm = torch.nn.Parameter(
            torch.tensor(config.temperature).log(), requires_grad=config.learn_temperature
        )

    def forward(self) -> Tensor:
        """Return the temperature, a scalar."""
        return self.logarithm.exp().clamp(0.01, 1.0)


def _cross_entropy(
    logits: Tensor, targets: Tensor, others: tuple[Tensor, Tensor], label_smoothing: float = 0.0
) -> LossParts:
    """Return the cross-entropy of `[B, C]` logits, where other right answers are left out."""
    if len(others[0]):
        logits = logits.index_put(others, logits.new_tensor(-torch.inf))
    loss = functional.cross_entropy(logits, targets)
    if label_smoothing:
        kept = logits.isfinite()
        spread = (logits.logsumexp(dim=1) - logits.masked_fill(~kept, 0.0).sum(dim=1) / kept.sum(dim=1)).mean()
        loss = (1 - label_smoothing) * loss + label_smoothing * spread
    with torch.no_grad():
        accuracy = (logits.max(dim=1).values <= logits.gather(1, targets[:, None])[:, 0]).float().mean()
    return {"loss": loss, "accuracy": accuracy}
