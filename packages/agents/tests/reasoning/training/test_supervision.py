from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
import torch

from sightline.agents.reasoning import TRM, Addition, TrainerConfig, TRMConfig
from sightline.agents.reasoning.training.halting import Carry, begin
from sightline.agents.reasoning.training.loader import puzzle_examples
from sightline.agents.reasoning.training.losses import CellObjective, halting_loss, ponder_cost
from sightline.agents.reasoning.training.supervision import step_loss

TASK = Addition(1)
OBJECTIVE = CellObjective()


def start(**settings: object) -> tuple[TRM, Carry]:
    model = TRM(TRMConfig.for_task(TASK, width=16, layers=1, **settings)).double()
    with torch.no_grad():
        model.halt.weight.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.1)
        model.halt.bias.fill_(-1)
    examples = puzzle_examples(TASK.sample(np.random.default_rng(0), 6))
    carry = begin(examples, model.initial, torch.full((6,), 3))
    return model, Carry(carry.examples, carry.latents, carry.steps, carry.least, carry.survival.double(), carry.halted)


def config(**settings: object) -> TrainerConfig:
    return TrainerConfig.model_validate({"steps": 1, "segments": 3} | settings)


def segment_losses(model: TRM, carry: Carry, *, detach: bool, ponder: float = 0.0) -> list[torch.Tensor]:
    latents, survival = carry.latents, carry.survival
    losses = []
    for _ in range(3):
        latents, output = model(carry.examples.inputs, latents.detach() if detach else latents)
        targets = carry.examples.targets
        right = OBJECTIVE.measure(output, targets)["right"]
        cost, survival = ponder_cost(output.halt, survival)
        total = OBJECTIVE.loss(output, targets) + 0.5 * halting_loss(output.halt, right) + ponder * cost
        losses.append(total.mean())
    return losses


def test_after_each_segment_its_own_loss_counts() -> None:
    model, carry = start()
    expected = segment_losses(model, carry, detach=True, ponder=0.2)
    for loss in expected:
        result = step_loss(model, OBJECTIVE, carry, config(ponder_weight=0.2), torch.float64)
        torch.testing.assert_close(result.loss, loss)
        carry = result.carry
    assert carry.steps.tolist() == [3] * 6
    assert carry.halted.all()


@pytest.mark.parametrize(("supervision", "weights"), [("last", [0, 0, 1]), ("decayed", [0.25, 0.5, 1])])
def test_one_step_over_all_segments_weighs_them(supervision: str, weights: list[float]) -> None:
    model, carry = start(gradient="full")
    result = step_loss(model, OBJECTIVE, carry, config(supervision=supervision), torch.float64)
    result.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    losses = segment_losses(model, carry, detach=supervision == "last")
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
    torch.testing.assert_close(result.loss, expected)
    assert isinstance(expected, torch.Tensor)
    expected.backward()
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    assert result.carry.halted.all()


def test_consistency_pulls_an_answer_towards_the_next_one() -> None:
    model, carry = start(gradient="full")
    plain = step_loss(model, OBJECTIVE, carry, config(supervision="decayed"), torch.float64).loss
    pulled = step_loss(
        model, OBJECTIVE, carry, config(supervision="decayed", consistency_weight=1.0), torch.float64
    ).loss
    latents, answers = carry.latents, []
    for _ in range(3):
        latents, _ = model(carry.examples.inputs, latents)
        answers.append(latents.answer)
    distances = [(a - b).square().mean() for a, b in itertools.pairwise(answers)]
    torch.testing.assert_close(pulled - plain, (0.5 * distances[0] + distances[1]), rtol=1e-5, atol=1e-8)


def test_the_second_decision_has_a_loss() -> None:
    model, carry = start(continue_head=True)
    result = step_loss(model, OBJECTIVE, carry, config(), torch.float64)
    terms = result.terms
    torch.testing.assert_close(
        result.loss.detach(), terms["task_loss"] + 0.5 * terms["halt_loss"] + 0.5 * terms["continue_loss"]
    )


def test_a_hundred_segments_need_no_more_memory_than_one() -> None:
    model, carry = start()
    settings = config(segments=200)
    counts = []
    for step in range(100):
        result = step_loss(model, OBJECTIVE, carry, settings, torch.float64)
        result.loss.backward()
        carry = result.carry
        if step in (5, 99):
            gc.collect()
            counts.append(sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects()))
    assert counts[1] <= counts[0]


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="consistency_weight needs supervision"):
        config(consistency_weight=0.1)
    with pytest.raises(ValueError, match="ponder_weight needs supervision"):
        config(ponder_weight=0.1, supervision="last")
    with pytest.raises(ValueError, match="shares of one whole"):
        config(explore=0.6, full_depth=0.6)
    with pytest.raises(ValueError, match="float16 needs a CUDA device"):
        config(precision="float16")
