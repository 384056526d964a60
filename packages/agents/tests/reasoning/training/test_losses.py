from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from sightline.agents.reasoning import Output
from sightline.agents.reasoning.training.losses import (
    CellObjective,
    continue_loss,
    halting_loss,
    log_stablemax,
    ponder_cost,
)


def output(logits: torch.Tensor, halt: torch.Tensor | None = None, proceed: torch.Tensor | None = None) -> Output:
    return Output(logits, None, torch.zeros(len(logits)) if halt is None else halt, proceed)


def test_the_loss_of_cells_is_the_mean_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    cells = torch.randint(0, 5, (3, 4), generator=generator)
    chances = log_softmax(logits.numpy(), axis=2)
    expected = -np.take_along_axis(chances, cells.numpy()[:, :, None], axis=2)[:, :, 0].mean(axis=1)
    loss = CellObjective().loss(output(logits), {"cells": cells})
    np.testing.assert_allclose(loss.numpy(), expected)


def test_stablemax_is_its_formula_in_float64_with_a_finite_gradient() -> None:
    logits = torch.tensor([[[-1e4, -1.0, 0.0, 1.0, 1e4]]], requires_grad=True)
    values = [1 / (1 + 1e4), 0.5, 1.0, 2.0, 1e4 + 1]
    logs = log_stablemax(logits, dim=2)
    np.testing.assert_allclose(logs.detach().numpy()[0, 0], np.log(np.array(values) / sum(values)))
    assert logs.dtype == torch.float64
    loss = CellObjective(stablemax=True).loss(output(logits), {"cells": torch.tensor([[0]])})
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert torch.autograd.gradcheck(
        lambda x: log_stablemax(x, dim=0), torch.tensor([-2.0, -0.5, 0.7, 3.0], dtype=torch.float64, requires_grad=True)
    )


def test_an_answer_is_right_when_all_its_cells_are() -> None:
    cells = torch.tensor([[1, 2], [1, 2]])
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 2], [1, 0]]), 3).double()
    measures = CellObjective().measure(output(logits), {"cells": cells})
    assert measures["right"].tolist() == [True, False]
    assert measures["cell_accuracy"].tolist() == [1.0, 0.5]


def test_the_halting_loss_is_binary_cross_entropy() -> None:
    halt = torch.tensor([2.0, -3.0], dtype=torch.float64)
    loss = halting_loss(halt, torch.tensor([True, True]))
    np.testing.assert_allclose(loss.numpy(), -np.log(expit(halt.numpy())))


def test_going_on_is_worth_the_better_of_the_two_decisions_after_it() -> None:
    following = output(torch.zeros(2, 1, 2), torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
    proceed = torch.tensor([0.5, 0.5])
    loss = continue_loss(proceed, following, torch.tensor([False, True]))
    targets = expit(np.array([1.0, -1.0]))
    chance = expit(0.5)
    np.testing.assert_allclose(
        loss.numpy(), -(targets * np.log(chance) + (1 - targets) * np.log(1 - chance)), rtol=1e-6
    )
    with pytest.raises(ValueError, match="set continue_head"):
        continue_loss(proceed, output(torch.zeros(2, 1, 2)), torch.tensor([False, True]))


def test_ponder_costs_add_up_to_the_expected_number_of_segments() -> None:
    halts = torch.tensor([[-1.0, 0.3], [0.7, -2.0], [0.1, 0.4]], dtype=torch.float64)
    survival = torch.ones(2, dtype=torch.float64)
    total = torch.zeros(2, dtype=torch.float64)
    for halt in halts:
        cost, survival = ponder_cost(halt, survival)
        total = total + cost
    h = expit(halts.numpy())
    # Expected segments after the first, cut at three: sum over n of n times the chance of halting at n.
    expected = [
        sum(n * h[n, row] * np.prod(1 - h[:n, row]) for n in range(3)) + 3 * np.prod(1 - h[:, row]) for row in range(2)
    ]
    np.testing.assert_allclose(total.numpy(), expected)


def test_less_pondering_means_halting_sooner() -> None:
    halt = torch.zeros(3, requires_grad=True)
    cost, survival = ponder_cost(halt, torch.tensor([1.0, 0.5, 0.1]))
    cost.sum().backward()
    assert halt.grad is not None
    assert (halt.grad < 0).all()  # descending the cost raises the logit
    assert not survival.requires_grad
