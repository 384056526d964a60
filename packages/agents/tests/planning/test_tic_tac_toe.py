"""The search against exact truth: plain recursion over tic-tac-toe."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from sightline.agents.planning import Search
from sightline.agents.selfplay import Board, MCTSPlayer, TicTacToe

GAME = TicTacToe()


@cache
def value(state: Board) -> float:
    """For the side to move, by plain recursion."""
    outcome = GAME.outcome(state)
    if outcome is not None:
        return outcome if GAME.to_move(state) == 0 else -outcome
    return max(-value(GAME.apply(state, action)) for action in GAME.legal(state))


def all_positions() -> list[Board]:
    """The 4,520 reachable positions in which the game goes on."""
    seen, waiting = {GAME.initial()}, [GAME.initial()]
    while waiting:
        state = waiting.pop()
        for action in GAME.legal(state):
            after = GAME.apply(state, action)
            if after not in seen and GAME.outcome(after) is None:
                seen.add(after)
                waiting.append(after)
    return sorted(seen)


def share_of_optimal_actions(positions: list[Board], **settings: Any) -> float:
    result = Search(**settings).run(GAME, positions)
    after = [GAME.apply(state, int(action)) for state, action in zip(positions, result.action, strict=True)]
    return float(np.mean([-value(new) == value(state) for state, new in zip(positions, after, strict=True)]))


def test_there_are_4520_positions_to_move_in() -> None:
    assert len(all_positions()) == 4520


def test_a_few_simulations_find_most_optimal_actions() -> None:
    sample = all_positions()[::9]
    assert share_of_optimal_actions(sample, simulations=50) >= 0.95
    assert share_of_optimal_actions(sample, simulations=200) >= 0.985
    assert share_of_optimal_actions(sample, simulations=200, method="gumbel") >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "least"), [({}, 0.995), ({"exhausted": False}, 0.995), ({"method": "gumbel"}, 0.99)]
)
def test_a_thousand_simulations_find_nearly_all_of_them(settings: dict[str, Any], least: float) -> None:
    positions = all_positions()
    blocks = [positions[start : start + 565] for start in range(0, 4520, 565)]
    shares = [share_of_optimal_actions(block, simulations=1000, **settings) for block in blocks]
    assert np.mean(shares) >= least


def test_two_hundred_games_against_perfect_play_are_not_lost() -> None:
    """From all openings of up to two plies whose value is a draw, with both colours, 1,000 simulations a move."""
    rng = np.random.default_rng(0)
    openings = [GAME.initial()]
    openings += [GAME.apply(GAME.initial(), cell) for cell in range(9)]
    openings += [GAME.apply(state, cell) for state in openings[1:] for cell in GAME.legal(state)]
    openings = [state for state in openings if value(state) == 0]
    player = MCTSPlayer(1000)
    games = [(openings[at % len(openings)], at % 2) for at in range(200)]
    states = [state for state, _ in games]
    for ply in range(9):
        turns = [GAME.to_move(state) == colour for state, (_, colour) in zip(states, games, strict=True)]
        mine = [at for at, turn in enumerate(turns) if turn and GAME.outcome(states[at]) is None]
        perfect = [at for at, turn in enumerate(turns) if not turn and GAME.outcome(states[at]) is None]
        if mine:
            chosen = player.choose(GAME, [states[at] for at in mine], [200 * ply + at for at in mine])
        for at, action in zip(mine, chosen.actions.tolist() if mine else [], strict=True):
            states[at] = GAME.apply(states[at], action)
        for at in perfect:
            best = [a for a in GAME.legal(states[at]) if -value(GAME.apply(states[at], a)) == value(states[at])]
            states[at] = GAME.apply(states[at], int(rng.choice(best)))
    results = [GAME.outcome(state) for state in states]
    assert all(result is not None for result in results)
    assert not [at for at, (_, colour) in enumerate(games) if results[at] == (-1 if colour == 0 else 1)]
