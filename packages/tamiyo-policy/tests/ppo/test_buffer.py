from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, RolloutStep

SPACE = FactoredActionSpace.independent(("left", "right"), (2, 3))
GROWTH = growth_action_space(2)


def flags(*values: bool) -> Tensor:
    return torch.tensor(values)


def step(number: int, *, environments: int = 2, heads: int = 2, **changes: object) -> RolloutStep:
    """A step whose numbers tell which it is: environment e of step n has rewards 10 n + e."""
    numbers = 10.0 * number + torch.arange(float(environments))
    plain = RolloutStep(
        states=numbers[:, None].repeat(1, 3),
        actions=torch.zeros(environments, heads, dtype=torch.int64),
        log_probs=-numbers[:, None].repeat(1, heads),
        rewards=numbers,
        terminated=torch.zeros(environments, dtype=torch.bool),
        truncated=torch.zeros(environments, dtype=torch.bool),
        episode_starts=torch.full((environments,), number == 0),
    )
    return replace(plain, **changes)


def filled(*steps: RolloutStep, space: FactoredActionSpace = SPACE) -> RolloutBuffer:
    buffer = RolloutBuffer(2, len(steps), 3, space)
    buffer.start((torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    for each in steps:
        buffer.add(each)
    return buffer


def growth_masks(op: list[list[bool]]) -> dict[str, Tensor]:
    masks = {name: torch.ones(2, *shape, dtype=torch.bool) for name, shape in GROWTH.mask_shapes.items()}
    return masks | {"op": torch.tensor(op)}


def test_rows_hold_the_steps_of_one_environment_in_order() -> None:
    rows = filled(step(0), step(1), step(2)).sequences()
    assert rows.rewards.tolist() == [[0.0, 10.0, 20.0], [1.0, 11.0, 21.0]]
    assert rows.states[1, 2].tolist() == [21.0, 21.0, 21.0]
    assert rows.log_probs[0, 1].tolist() == [-10.0, -10.0]


def test_chosen_rows_come_with_everything_that_belongs_to_them() -> None:
    buffer = RolloutBuffer(2, 1, 3, GROWTH)
    buffer.start((torch.arange(2.0).reshape(1, 2, 1), torch.arange(2.0, 4.0).reshape(1, 2, 1)))
    masks = growth_masks([[True] * 6, [True] + [False] * 5])
    buffer.add(step(0, heads=8, masks=masks, categories=torch.tensor([[0, 1], [2, -1]])))
    row = buffer.sequences().rows(torch.tensor([1]))
    assert row.rewards.tolist() == [[1.0]]
    assert row.masks is not None
    assert row.masks["op"].tolist() == [[[True] + [False] * 5]]
    assert row.categories is not None
    assert row.categories.tolist() == [[[2, -1]]]
    assert [part.tolist() for part in row.initial_hidden] == [[[[1.0]]], [[[3.0]]]]


def test_the_state_before_the_first_step_is_kept_whatever_becomes_of_the_one_that_was_given() -> None:
    buffer = RolloutBuffer(2, 1, 3, SPACE)
    hidden = (torch.ones(1, 2, 4), torch.ones(1, 2, 4))
    buffer.start(hidden)
    for part in hidden:
        part.fill_(7.0)
    buffer.add(step(0))
    assert all(bool((part == 1).all()) for part in buffer.sequences().initial_hidden)


def test_a_second_rollout_overwrites_the_first() -> None:
    buffer = filled(step(0), step(1))
    buffer.start((torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    buffer.add(step(4, episode_starts=flags(True, True)))
    assert len(buffer) == 1
    buffer.add(step(5))
    assert buffer.sequences().rewards.tolist() == [[40.0, 50.0], [41.0, 51.0]]


def test_a_full_buffer_takes_no_further_step() -> None:
    with pytest.raises(ValueError, match="rollout of 1 steps is full"):
        filled(step(0)).add(step(1))


def test_a_rollout_that_is_not_full_cannot_be_read() -> None:
    buffer = RolloutBuffer(2, 2, 3, SPACE)
    buffer.start((torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    buffer.add(step(0))
    with pytest.raises(ValueError, match="has 1 of 2 steps"):
        buffer.sequences()


def test_optional_fields_must_be_there_at_every_step() -> None:
    buffer = RolloutBuffer(2, 2, 3, SPACE)
    buffer.start((torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    buffer.add(step(0))
    with pytest.raises(ValueError, match="slot_targets"):
        buffer.add(step(1, slot_targets=torch.zeros(2, 2)))


def test_an_episode_that_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="environment 1: step 1"):
        filled(step(0, terminated=flags(False, True)), step(1)).sequences()


def test_a_hole_within_an_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="environment 0: step 1"):
        filled(step(0), step(1, valid=flags(False, True))).sequences()


def test_the_first_step_of_the_next_episode_may_follow_an_ignored_one() -> None:
    ended = step(0, truncated=flags(True, False))
    ignored = step(1, valid=flags(False, True))
    rows = filled(ended, ignored, step(2, episode_starts=flags(True, False))).sequences()
    assert rows.learnable.tolist() == [[True, False, True], [True, True, True]]


def test_relevance_follows_the_operation_that_was_carried_out() -> None:
    actions = torch.zeros(2, 8, dtype=torch.int64)
    actions[:, -1] = Op.GERMINATE
    changed = step(0, heads=8, actions=actions, effective_ops=torch.tensor([Op.GERMINATE, Op.WAIT]))
    rows = filled(changed, space=GROWTH).sequences()
    assert rows.relevance[0, 0].tolist() == GROWTH.relevance[Op.GERMINATE].tolist()
    assert rows.relevance[1, 0].tolist() == GROWTH.relevance[Op.WAIT].tolist()


def test_a_step_at_which_only_waiting_is_legal_teaches_nothing() -> None:
    only_wait = [True] + [False] * 5
    rows = filled(step(0, heads=8, masks=growth_masks([only_wait, [True] * 6])), space=GROWTH).sequences()
    assert rows.learnable.tolist() == [[False], [True]]


def test_a_single_legal_operation_still_leaves_its_sub_heads_to_choose() -> None:
    only_germinate = [False, True] + [False] * 4
    actions = torch.zeros(2, 8, dtype=torch.int64)
    actions[:, -1] = Op.GERMINATE
    masks = growth_masks([only_germinate, only_germinate])
    masks["slot_by_op"][1] = False
    masks["slot_by_op"][1, :, 0] = True
    for name in ("blueprint", "style", "tempo", "alpha_target"):
        masks[name][1, 1:] = False
    rows = filled(step(0, heads=8, actions=actions, masks=masks), space=GROWTH).sequences()
    assert rows.learnable.tolist() == [[True], [False]]


def test_a_mask_that_the_action_space_names_must_be_there() -> None:
    masks = growth_masks([[True] * 6] * 2)
    del masks["tempo"]
    with pytest.raises(KeyError, match="tempo"):
        filled(step(0, heads=8, masks=masks), space=GROWTH)


def test_a_bootstrap_value_can_be_added_later() -> None:
    buffer = filled(step(0, truncated=flags(True, False)), step(1, episode_starts=flags(True, False)))
    buffer.set_bootstrap_values(0, torch.tensor([7.0, 8.0]), flags(True, False))
    assert buffer.sequences().bootstrap_values.tolist() == [[7.0, 0.0], [0.0, 0.0]]


def test_a_rollback_blames_the_last_executed_step_and_forfeits_its_episode() -> None:
    buffer = filled(
        step(0), step(1, terminated=flags(True, False)), step(2, episode_starts=flags(True, False)), step(3)
    )
    assert buffer.mark_rollback(0, -10.0)
    rows = buffer.sequences()
    assert rows.rewards.tolist() == [[0.0, 10.0, 0.0, -10.0], [1.0, 11.0, 21.0, 31.0]]
    assert rows.terminated.tolist() == [[False, True, False, True], [False] * 4]


def test_a_rollback_before_any_step_of_the_episode_blames_nobody() -> None:
    buffer = filled(step(0, terminated=flags(True, False)), step(1, valid=flags(False, True)))
    assert not buffer.mark_rollback(0, -10.0)
    assert buffer.sequences().rewards.tolist() == [[0.0, 10.0], [1.0, 11.0]]


def test_a_rollback_in_an_empty_rollout_blames_nobody() -> None:
    buffer = RolloutBuffer(2, 2, 3, SPACE)
    buffer.start((torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    assert not buffer.mark_rollback(1, -10.0)
