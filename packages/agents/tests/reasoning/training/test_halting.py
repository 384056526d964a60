from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.agents.reasoning import TRM, Addition, Examples, Latents, TrainerConfig, TRMConfig
from sightline.agents.reasoning.training.halting import Carry, advance, begin, least_segments, refill
from sightline.agents.reasoning.training.loader import puzzle_examples

TASK = Addition(1)


def examples(count: int, seed: int) -> Examples:
    return puzzle_examples(TASK.sample(np.random.default_rng(seed), count))


def model() -> TRM:
    return TRM(TRMConfig.for_task(TASK, width=16, layers=1))


def at_work(count: int = 5) -> tuple[TRM, Carry]:
    trm = model()
    carry = begin(examples(count, 0), trm.initial, torch.full((count,), 3))
    with torch.no_grad():
        latents, output = trm(carry.examples.inputs, carry.latents)
    return trm, advance(carry, latents, output.margin, torch.full((count,), 0.5), 4)


def test_a_refill_leaves_the_other_rows_bit_for_bit() -> None:
    trm, carry = at_work()
    halted = torch.tensor([False, True, False, True, False])
    carry = Carry(carry.examples, carry.latents, carry.steps, carry.least, carry.survival, halted)
    fresh = examples(2, 1)
    after = refill(carry, fresh, trm.initial, torch.tensor([1, 4]))
    kept = ~halted
    for name in ("steps", "least", "survival"):
        assert torch.equal(getattr(after, name)[kept], getattr(carry, name)[kept])
    assert torch.equal(after.latents.rows(kept).answer, carry.latents.rows(kept).answer)
    assert torch.equal(after.latents.rows(kept).latent, carry.latents.rows(kept).latent)
    assert torch.equal(after.examples.rows(kept).inputs, carry.examples.rows(kept).inputs)
    assert torch.equal(after.examples.rows(halted).inputs, fresh.inputs)
    assert torch.equal(after.examples.rows(halted).targets["cells"], fresh.targets["cells"])
    assert torch.equal(after.latents.rows(halted).answer, trm.initial(fresh.inputs).answer)
    assert after.steps[halted].tolist() == [0, 0]
    assert after.least[halted].tolist() == [1, 4]
    assert after.survival[halted].tolist() == [1.0, 1.0]
    assert not after.halted.any()


def test_a_refilled_question_is_answered_as_if_it_were_alone() -> None:
    trm, carry = at_work()
    halted = torch.tensor([False, True, False, False, False])
    carry = Carry(carry.examples, carry.latents, carry.steps, carry.least, carry.survival, halted)
    fresh = examples(1, 2)
    after = refill(carry, fresh, trm.initial, torch.tensor([1]))
    with torch.no_grad():
        _, together = trm(after.examples.inputs, after.latents)
        _, alone = trm(fresh.inputs, trm.initial(fresh.inputs))
    torch.testing.assert_close(together.logits[1:2], alone.logits)


def test_a_question_halts_after_the_last_segment_or_when_it_is_sure_and_may() -> None:
    _, carry = at_work(4)
    carry = Carry(
        carry.examples,
        carry.latents,
        torch.tensor([2, 0, 0, 0]),
        torch.tensor([1, 1, 2, 1]),
        carry.survival,
        carry.halted,
    )
    after = advance(carry, carry.latents, torch.tensor([-1.0, 1.0, 1.0, -1.0]), carry.survival, 3)
    assert after.steps.tolist() == [3, 1, 1, 1]
    assert after.halted.tolist() == [True, True, False, False]


def test_a_question_that_is_no_longer_finite_leaves() -> None:
    trm, carry = at_work(3)
    with torch.no_grad():
        trm.halt.weight.fill_(0.1)
    answer = carry.latents.answer.clone()
    answer[0, 1, 0] = torch.nan
    margin = trm.read(Latents(answer, carry.latents.latent)).margin.detach()
    after = advance(carry, carry.latents, torch.where(margin.isnan(), margin, -1.0), carry.survival, 9)
    assert after.halted.tolist() == [False, True, False]


def test_a_carry_never_holds_a_graph() -> None:
    trm = model()
    carry = begin(examples(2, 0), trm.initial, torch.ones(2, dtype=torch.int64))
    latents, output = trm(carry.examples.inputs, carry.latents)
    assert latents.answer.requires_grad
    assert not advance(carry, latents, output.margin, carry.survival, 4).latents.answer.requires_grad


def test_segments_to_stay_are_drawn_in_the_configured_shares() -> None:
    config = TrainerConfig(steps=1, segments=8, explore=0.1, full_depth=0.25)
    least = least_segments(np.random.default_rng(0), 40_000, config).numpy()
    share = np.bincount(least, minlength=9) / 40_000
    assert share[1] == pytest.approx(0.65, abs=0.01)
    assert share[8] == pytest.approx(0.25 + 0.1 / 7, abs=0.01)
    np.testing.assert_allclose(share[2:8], 0.1 / 7, atol=0.004)


@pytest.mark.parametrize("settings", [{"halting": False}, {"segments": 1}])
def test_without_halting_all_segments_are_gone_through(settings: dict[str, object]) -> None:
    config = TrainerConfig.model_validate({"steps": 1, "segments": 8} | settings)
    assert (least_segments(np.random.default_rng(0), 20, config) == config.segments).all()
