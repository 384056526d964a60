from __future__ import annotations

import math

import pytest
import torch

from sightline.retrieval.conditioned import margin_loss, multi_positive_info_nce
from sightline.retrieval.conditioned.losses import importance_loss


def batch(seed: int, *, sizes: tuple[int, ...] = (2, 5, 7, 3)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random scores (float64, -inf where padded), positives and mask; the last example has positives only."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    positives = (torch.rand(mask.shape, generator=generator) < 0.4) & mask
    positives[:, 0] = True
    positives[-1] = mask[-1]
    scores = torch.rand(mask.shape, generator=generator, dtype=torch.float64) * 2 - 1
    return scores.masked_fill(~mask, -torch.inf), positives, mask


def rows(scores: torch.Tensor, positives: torch.Tensor, mask: torch.Tensor) -> list[tuple[list[float], list[float]]]:
    """Scores of the positives and of the negatives, per example, as plain lists."""
    return [
        (row[positive].tolist(), row[kept & ~positive].tolist())
        for row, positive, kept in zip(scores, positives, mask, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_info_nce_agrees_with_a_loop(seed: int):
    arguments = batch(seed)
    losses = []
    for positives, negatives in rows(*arguments):
        weights = [math.exp(score / 0.3) for score in positives]
        losses.append(-math.log(sum(weights) / (sum(weights) + sum(math.exp(score / 0.3) for score in negatives))))
    assert multi_positive_info_nce(*arguments, 0.3).item() == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("seed", range(5))
def test_margin_loss_agrees_with_a_loop(seed: int):
    arguments = batch(seed)
    losses = []
    for positives, negatives in rows(*arguments):
        pairs = [max(0.0, 0.2 - positive + negative) for positive in positives for negative in negatives]
        losses.append(sum(pairs) / len(pairs) if pairs else 0.0)
    assert margin_loss(*arguments, 0.2).item() == pytest.approx(sum(losses) / len(losses))


def others(seed: int) -> torch.Tensor:
    """Scores of five chunks of other pages, about half of them no negatives of the example; of the last, none is."""
    generator = torch.Generator().manual_seed(seed + 100)
    scores = torch.rand(4, 5, generator=generator, dtype=torch.float64) * 2 - 1
    scores[torch.rand(4, 5, generator=generator) < 0.5] = -torch.inf
    scores[-1] = -torch.inf
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_chunks_of_other_pages_join_the_denominator_with_their_weight(seed: int):
    arguments, other = batch(seed), others(seed)
    losses = []
    for (positives, negatives), row in zip(rows(*arguments), other.tolist(), strict=True):
        right = sum(math.exp(score / 0.3) for score in positives)
        wrong = sum(math.exp(score / 0.3) for score in negatives) + 0.7 * sum(math.exp(score / 0.3) for score in row)
        losses.append(-math.log(right / (right + wrong)))
    loss = multi_positive_info_nce(*arguments, 0.3, other, 0.7)
    assert loss.item() == pytest.approx(sum(losses) / len(losses))


def test_gradients_with_chunks_of_other_pages_agree_with_finite_differences():
    scores, positives, mask = batch(0)
    other = others(0)

    def of_others(values: torch.Tensor) -> torch.Tensor:
        scattered = torch.full_like(other, -torch.inf).masked_scatter(other.isfinite(), values)
        return multi_positive_info_nce(scores, positives, mask, 0.3, scattered, 0.7)

    assert torch.autograd.gradcheck(of_others, other[other.isfinite()].clone().requires_grad_())


@pytest.mark.parametrize("seed", range(3))
def test_importance_loss_agrees_with_a_loop(seed: int):
    arguments = batch(seed)
    losses = []
    for positives, negatives in rows(*arguments):
        costs = [math.log1p(math.exp(-logit)) for logit in positives]
        costs += [math.log1p(math.exp(logit)) for logit in negatives]
        losses.append(sum(costs) / len(costs))
    assert importance_loss(*arguments).item() == pytest.approx(sum(losses) / len(losses))


def test_other_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \[4, m\]"):
        multi_positive_info_nce(*batch(0), 0.3, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="other_weight"):
        multi_positive_info_nce(*batch(0), 0.3, others(0), 0.0)


LOSSES = {
    "info_nce": (multi_positive_info_nce, 0.3),
    "margin": (margin_loss, 0.2),
    "importance": (lambda scores, positives, mask, _: importance_loss(scores, positives, mask), 0.0),
}
RANKING = ("info_nce", "margin")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_agree_with_finite_differences(loss: str, seed: int):
    function, setting = LOSSES[loss]
    scores, positives, mask = batch(seed)

    def of_candidates(values: torch.Tensor) -> torch.Tensor:
        return function(torch.full_like(scores, -torch.inf).masked_scatter(mask, values), positives, mask, setting)

    assert torch.autograd.gradcheck(of_candidates, scores[mask].clone().requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_changes_neither_loss_nor_gradient(loss: str):
    function, setting = LOSSES[loss]
    scores, positives, mask = batch(0)
    narrow = scores[:1, :2].clone().requires_grad_()
    wide = scores[:1].clone().requires_grad_()
    for leaf, width in ((narrow, 2), (wide, 7)):
        function(leaf, positives[:1, :width], mask[:1, :width], setting).backward()
    assert wide.grad is not None
    assert narrow.grad is not None
    torch.testing.assert_close(wide.grad[:, :2], narrow.grad)
    assert wide.grad[:, 2:].abs().sum() == 0


@pytest.mark.parametrize("loss", RANKING)
def test_a_positive_that_leads_by_far_costs_nothing(loss: str):
    function, setting = LOSSES[loss]
    positives, mask = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    assert function(torch.tensor([[50.0, 0.0, 0.0]]), positives, mask, setting).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", RANKING)
def test_batches_that_make_no_sense_are_refused(loss: str):
    function, setting = LOSSES[loss]
    scores, positives, mask = batch(0)
    with pytest.raises(ValueError, match="example 1 of the batch has no positive"):
        function(scores, positives & (torch.arange(4) != 1)[:, None], mask, setting)
    with pytest.raises(ValueError, match="masked out"):
        function(scores, positives, mask & ~positives, setting)
    with pytest.raises(ValueError, match="one shape"):
        function(scores, positives[:, :1], mask, setting)
    with pytest.raises(ValueError, match="must be bool"):
        function(scores, positives, mask.float(), setting)
    with pytest.raises(ValueError, match="must"):
        function(scores, positives, mask, -1.0)
