from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from sightline.agents.actors.candidate_scoring import PackedPrompt, candidate_log_probabilities
from sightline.agents.student.config import StudentTrainingConfig
from sightline.agents.student.growing import forward_flops, student_with_places
from sightline.agents.student.training import make_student, student_loss

VOCABULARY = 60
PROMPTS = [PackedPrompt([5, 9, 3, 7], [[1, 2], [4, 4, 8]]), PackedPrompt([6, 2, 9, 9, 1, 0, 11], [[3], [8, 1], [7]])]
KINDS = st.lists(st.sampled_from(["block", "feed_forward", None]), min_size=1, max_size=4)


def shape(layers: int, seed: int = 0) -> StudentTrainingConfig:
    return StudentTrainingConfig(layers=layers, width=16, heads=2, feed_forward=24, context=64, seed=seed)


@settings(max_examples=12)
@given(st.integers(1, 3), KINDS, st.data())
def test_what_is_planted_changes_no_output(layers: int, kinds: list, data: st.DataObject) -> None:
    behind = sorted(data.draw(st.integers(0, layers)) for _ in kinds)
    plain = make_student(shape(layers), VOCABULARY)
    model, places = student_with_places(shape(layers), VOCABULARY, behind)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    for place, kind in zip(places, kinds, strict=True):
        if kind is not None:
            place.plant(kind, generator)
    with torch.no_grad():
        before, after = (candidate_log_probabilities(of, PROMPTS) for of in (plain, model))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", ["block", "feed_forward"])
def test_what_is_planted_learns_from_its_first_step_on_and_then_has_an_effect(kind) -> None:
    model, (place,) = student_with_places(shape(2), VOCABULARY, [1])
    place.plant(kind, torch.Generator().manual_seed(0))
    target = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5, 0.5])]
    before = student_loss(model, list(zip(PROMPTS, target, strict=True)), 0.25)
    before.backward()
    moved = {name for name, each in place.module(kind).named_parameters() if each.grad is not None and each.grad.any()}
    assert moved == {name for name in moved if name.endswith(("o_proj.weight", "down_proj.weight"))} != set()
    with torch.no_grad():
        for parameter in place.module(kind).parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert student_loss(model, list(zip(PROMPTS, target, strict=True)), 0.25) < before


def test_equal_generators_plant_equal_modules_and_what_was_there_before_is_gone() -> None:
    _, (place,) = student_with_places(shape(1), VOCABULARY, [0])
    found = []
    for _ in range(2):
        place.plant("block", torch.Generator().manual_seed(3))
        found.append([parameter.clone() for parameter in place.block.parameters()])
        with torch.no_grad():
            for parameter in place.block.parameters():
                parameter += 1.0
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def counted(counter: FlopCounterMode) -> int:
    """What torch counted but for the angles of positions, which older transformers compute by a product."""
    angles = [found for name, found in counter.get_flop_counts().items() if name.endswith("rotary_emb")]
    return counter.get_total_flops() - sum(sum(found.values()) for found in angles)


@pytest.mark.parametrize("kinds", [(None, None), ("block", None), ("feed_forward", "block")])
def test_operations_are_those_that_torch_counts(kinds) -> None:
    model, places = student_with_places(shape(2), VOCABULARY, [1, 2])
    model.set_attn_implementation("eager")  # whose products torch counts one by one
    for place, kind in zip(places, kinds, strict=True):
        if kind is not None:
            place.plant(kind, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        scores = candidate_log_probabilities(model, PROMPTS)
    forward = forward_flops(model, PROMPTS)
    assert counted(counter) == forward
    with FlopCounterMode(display=False) as counter:
        torch.cat(candidate_log_probabilities(model, PROMPTS)).sum().backward()
    assert counted(counter) == 3 * forward
    assert len(scores) == 2


@pytest.mark.parametrize("behind", [[2, 1], [3], [-1]])
def test_places_that_a_student_has_not_are_refused(behind: list[int]) -> None:
    with pytest.raises(ValueError, match="places must rise from 0 to 2"):
        student_with_places(shape(2), VOCABULARY, behind)
