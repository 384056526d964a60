"""Ranking losses over the candidate chunks of one page, where more than one chunk may be right.

Both take scores of shape ``[B, n]`` as `StateConditionedRetriever.scores` returns them. Examples count alike, however
many chunks their pages have.
"""

from __future__ import annotations

from sightline.retrieval._torch import torch


def multi_positive_info_nce(
    scores: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Negative log probability that a softmax over the page falls on any positive chunk, averaged over examples.

    ``-log(sum_p exp(s_p / T) / sum_c exp(s_c / T))`` with p over the positives and c over all candidates of the page:
    MIL-NCE (Miech et al. 2020, equation 1). With a single positive it is InfoNCE (van den Oord et al. 2018). It asks
    that some positive wins, not all of them, as an agent needs to see its target once.

    Args:
        scores: ``[B, n]`` float.
        positives: ``[B, n]`` bool.
        mask: ``[B, n]`` bool, True for candidates.
        temperature: T; the smaller, the more the hardest negatives weigh.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes or dtypes do not fit, an example has no positive, a positive is masked out, or the
            temperature is not positive.
    """
    _check(scores, positives, mask)
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature!r}")
    logits = scores / temperature
    of_positives = logits.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
    of_candidates = logits.masked_fill(~mask, -torch.inf).logsumexp(dim=1)
    return (of_candidates - of_positives).mean()


def margin_loss(scores: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean of ``max(0, margin - s_p + s_n)`` over the pairs of a page, averaged over examples.

    Args:
        scores: ``[B, n]`` float.
        positives: ``[B, n]`` bool.
        mask: ``[B, n]`` bool, True for candidates; candidates that are not positive are negative.
        margin: by how much a positive should lead, in units of the score.

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
