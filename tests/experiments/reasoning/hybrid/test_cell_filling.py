from __future__ import annotations

import numpy as np

from experiments.reasoning.hybrid.cell_filling import CellFilling
from sightline.agents.planning import Search
from sightline.agents.reasoning import TRM, Sudoku, TRMConfig

TASK = Sudoku(4)
PUZZLES = TASK.sample(np.random.default_rng(0), 6)


def world() -> CellFilling:
    return CellFilling(TASK, TRM(TRMConfig.for_task(TASK, width=16, layers=1)), segments=1)


def test_the_right_digits_lead_to_the_reward() -> None:
    game = world()
    state, answer = tuple(PUZZLES.inputs[0].tolist()), PUZZLES.targets[0]
    rewards, discounts = [], []
    while 0 in state:
        left = TASK.candidates(state)
        cell = min(left, key=lambda empty: len(left[empty]))
        assert (np.flatnonzero(game.expand([state]).legal[0]) + 1).tolist() == left[cell]
        (state,), reward, discount = game.step([state], np.array([answer[cell] - 1]))
        rewards.append(reward[0])
        discounts.append(discount[0])
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert discounts == [1.0] * (len(rewards) - 1) + [0.0]
    assert state == tuple(answer.tolist())
    assert not game.expand([state]).legal.any()


def test_a_dead_end_ends_the_world_without_a_reward() -> None:
    cells = [0] * 16
    cells[0], cells[1], cells[7] = 1, 2, 4
    left = TASK.candidates(cells)
    cell = min(left, key=lambda empty: len(left[empty]))
    assert (cell, left[cell]) == (2, [3])  # after which cell 3 has nothing left
    (state,), reward, discount = world().step([tuple(cells)], np.array([2]))
    assert state[2] == 3
    assert (reward[0], discount[0]) == (0.0, 0.0)


def test_search_finds_answers_whatever_the_prior() -> None:
    game = world()
    roots = [tuple(row) for row in PUZZLES.inputs.tolist()]
    found = Search(simulations=200, method="puct", seed=0).run(game, roots)
    assert [plan is not None and plan.value for plan in found.plans] == [1.0] * len(roots)
