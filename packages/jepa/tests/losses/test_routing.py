from __future__ import annotations

import math

import pytest
import torch

from sightline.jepa.losses.routing import (
    disentanglement_loss,
    load_balance_loss,
    residual_penalty,
    routing_confidence_loss,
    routing_loss,
)

SUBSPACES, COUNT = 5, 200
CATEGORY = torch.arange(COUNT) % SUBSPACES
ONE_HOT = torch.nn.functional.one_hot(CATEGORY, SUBSPACES).float()
UNIFORM = torch.full((COUNT, SUBSPACES), 1 / SUBSPACES)
COLLAPSED = torch.nn.functional.one_hot(torch.zeros(COUNT, dtype=torch.int64), SUBSPACES).float()


def test_routing_has_the_floor_of_chance_for_logits_that_ignore_the_input():
    constant = routing_loss(torch.randn(1, SUBSPACES).expand(COUNT, -1), CATEGORY)
    right = routing_loss(20 * ONE_HOT, CATEGORY)
    assert constant["loss"] >= math.log(SUBSPACES) - 1e-5
    assert constant["accuracy"] == pytest.approx(1 / SUBSPACES)
    assert right["loss"] < 1e-3
    assert right["accuracy"] == 1.0


def test_load_balance_asks_for_all_subspaces_over_the_batch_not_in_each_sample():
    assert load_balance_loss(ONE_HOT)["loss"] == pytest.approx(0.0, abs=1e-6)
    assert load_balance_loss(UNIFORM)["loss"] == pytest.approx(0.0, abs=1e-6)
    assert load_balance_loss(COLLAPSED)["loss"] == pytest.approx(1.0)
    assert load_balance_loss(ONE_HOT)["entropy"] == pytest.approx(math.log(SUBSPACES))


def test_confidence_asks_for_one_subspace_in_each_sample_whichever_it_is():
    assert routing_confidence_loss(ONE_HOT)["loss"] == pytest.approx(0.0, abs=1e-6)
    assert routing_confidence_loss(COLLAPSED)["loss"] == pytest.approx(0.0, abs=1e-6)
    assert routing_confidence_loss(UNIFORM)["loss"] == pytest.approx(1.0)


def test_only_balanced_and_certain_routing_satisfies_both():
    both = [float(load_balance_loss(w)["loss"] + routing_confidence_loss(w)["loss"]) for w in (ONE_HOT, UNIFORM)]
    assert both == pytest.approx([0.0, 1.0], abs=1e-6)
    assert load_balance_loss(COLLAPSED)["loss"] + routing_confidence_loss(COLLAPSED)["loss"] == pytest.approx(1.0)


def test_the_residual_penalty_counts_what_exceeds_the_margin():
    fine = torch.tensor([[3.0, 4.0], [0.0, 2.5], [0.0, 0.5]])
    penalty = residual_penalty(fine, 2.0)
    assert penalty["loss"] == pytest.approx((3.0 + 0.5 + 0.0) / 3)
    assert penalty["length"] == pytest.approx(8.0 / 3)


def test_the_residual_penalty_has_a_finite_gradient_at_zero():
    fine = torch.zeros(3, 2, requires_grad=True)
    residual_penalty(fine, 0.0)["loss"].backward()
    assert fine.grad is not None
    assert torch.isfinite(fine.grad).all()


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="-1"):
        residual_penalty(torch.zeros(1, 2), -1.0)


def test_disentanglement_tells_subspaces_that_go_together():
    pairs = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]).repeat(50, 1)
    single = torch.eye(4).repeat(25, 1)
    assert disentanglement_loss(pairs)["loss"] == pytest.approx(1.0, abs=1e-3)
    assert disentanglement_loss(single)["loss"] == pytest.approx(1 / 9, abs=1e-3)
    assert disentanglement_loss(UNIFORM)["loss"] == pytest.approx(0.0, abs=1e-6)


def test_a_batch_of_one_has_no_correlations():
    weights = UNIFORM[:1].clone().requires_grad_()
    loss = disentanglement_loss(weights)["loss"]
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("loss", [load_balance_loss, routing_confidence_loss, disentanglement_loss])
def test_weights_get_a_finite_gradient_even_where_they_are_zero(loss):
    weights = COLLAPSED.clone().requires_grad_()
    loss(weights)["loss"].backward()
    assert weights.grad is not None
    assert torch.isfinite(weights.grad).all()


def test_each_loss_moves_the_logits():
    for loss in (load_balance_loss, routing_confidence_loss, disentanglement_loss):
        logits = torch.randn(COUNT, SUBSPACES, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss(logits.softmax(dim=1))["loss"].backward()
        assert logits.grad is not None
        assert logits.grad.abs().max() > 1e-8
