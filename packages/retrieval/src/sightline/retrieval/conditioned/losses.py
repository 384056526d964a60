"""Losses over the candidate chunks of one page, where more than one chunk may be right.

All take scores of shape `[B, n]` as a `StateConditionedRetriever` returns them. Examples count alike, however many
chunks their pages have.
"""

from __future__ import annotations

import math

from sightline.retrieval._torch import torch


def multi_positive_info_nce(
    scores: torch.Tensor,
    positives: torch.Tensor,
    mask: torch.Tensor,
    temperature: float,
    other_scores: torch.Tensor | None = None,
    other_weight: float = 1.0,
) -> torch.Tensor:
    """Return the mean negative log probability that a softmax over the page falls on any positive chunk.

    `-log(sum_p exp(s_p / T) / (sum_c exp(s_c / T) + w sum_o exp(s_o / T)))` with p over the positives, c over all
    candidates of the page and o over chunks of other pages: MIL-NCE (Miech et al. 2020, equation 1). With a single
    positive it is InfoNCE (van den Oord et al. 2018). It asks that some positive wins, not all of them, as an agent
    needs to see its target once. The weight w keeps the many easy chunks of other pages from drowning the few hard
    ones of the page; with w = 1 every chunk counts alike.

    Args:
        scores: `[B, n]` float.
        positives: `[B, n]` bool.
        mask: `[B, n]` bool, True for candidates.
        temperature: T; the smaller, the more the hardest negatives weigh.
        other_scores: `[B, m]` float, -inf where a chunk is no negative of the example; None without other pages.
        other_weight: w.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes or dtypes do not fit, an example has no positive, a positive is masked out, or the
            temperature or the weight is not positive.
    """
    _check(scores, positives, mask)
    if temperature <= 0 or other_weight <= 0:
        raise ValueError(f"temperature and other_weight must be positive, not {temperature!r} and {other_weight!r}")
    logits = scores / temperature
    of_positives = logits.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
    of_candidates = logits.masked_fill(~mask, -torch.inf)
    if other_scores is not None:
        if other_scores.ndim != 2 or len(other_scores) != len(scores):
            raise ValueError(f"other_scores must have shape [{len(scores)}, m], not {list(other_scores.shape)}")
        of_candidates = torch.cat([of_candidates, other_scores / temperature + math.log(other_weight)], dim=1)
    return (of_candidates.logsumexp(dim=1) - of_positives).mean()


def importance_loss(logits: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of "an expert clicks on something in this chunk", a mean of the means of pages.

    `-(y log sigmoid(l) + (1 - y) log(1 - sigmoid(l)))` with y = 1 for positives (Bishop 2006, equation 4.90).

    Args:
        logits: `[B, n]` float; what is masked out does not matter.
        positives: `[B, n]` bool.
        mask: `[B, n]` bool, True for candidates.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes or dtypes do not fit, an example has no positive, or a positive is masked out.
    """
    _check(logits, positives, mask)
    finite = logits.masked_fill(~mask, 0.0)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(finite, positives.to(finite.dtype), reduction="none")
    return ((losses * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def margin_loss(scores: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor, margin: float) -> torch.Tensor:
    """Return the mean of `max(0, margin - s_p + s_n)` over the pairs of a page, averaged over examples.

    Args:
        scores: `[B, n]` float.
        positives: `[B, n]` bool.
        mask: `[B, n]` bool, True for candidates; candidates that are not positive are negative.
        margin: lead that a positive should have, in units of the score.

    Returns:
        A scalar; an example without negatives contributes 0.

    Raises:
        ValueError: shapes or dtypes do not fit, an example has no positive, a positive is masked out, or the margin is
            negative.
    """
    _check(scores, positives, mask)
    if margin < 0:
        raise ValueError(f"margin must not be negative, not {margin!r}")
    finite = scores.masked_fill(~mask, 0.0)  # -inf minus -inf would be NaN
    pairs = positives[:, :, None] & (mask & ~positives)[:, None, :]
    hinge = (margin - finite[:, :, None] + finite[:, None, :]).clamp(min=0) * pairs
    return (hinge.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def _check(scores: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor) -> None:
    if scores.ndim != 2 or positives.shape != scores.shape or mask.shape != scores.shape:
        raise ValueError(
            "scores, positives and mask must have one shape [B, n], not "
            f"{list(scores.shape)}, {list(positives.shape)} and {list(mask.shape)}"
        )
    if positives.dtype != torch.bool or mask.dtype != torch.bool:
        raise ValueError(f"positives and mask must be bool, not {positives.dtype} and {mask.dtype}")
    without = (~positives.any(dim=1)).nonzero()
    if len(without):
        raise ValueError(f"example {without[0].item()} of the batch has no positive chunk; leave it out")
    if (positives & ~mask).any():
        raise ValueError("a positive chunk is masked out; positives must be candidates")
