from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from sightline.agents.selfplay import Board, ConnectFour, OutOfNodesError, Solver, solve


def brute_force(game: ConnectFour) -> Any:
    """Scores by plain minimax without any pruning."""
    cells = game.columns * game.rows

    @cache
    def score(state: Board) -> int:
        outcome = game.outcome(state)
        stones = (state.mover | state.other).bit_count()
        if outcome is not None:
            return 0 if outcome == 0 else -((cells + 2 - stones) // 2)
        return max(-score(game.apply(state, action)) for action in game.legal(state))

    return score


def test_late_positions_have_the_score_of_plain_minimax(random_positions: Any) -> None:
    game = ConnectFour(5, 4)
    plain, solver = brute_force(game), Solver(game)
    states = random_positions(game, 0, 60, range(9, 18))
    for state in states:
        assert solver.solve(state).score == plain(state)
        expected = {a: -plain(game.apply(state, a)) for a in game.legal(state)}
        assert solver.action_scores(state) == expected


@pytest.mark.slow
def test_positions_of_eight_plies_have_the_score_of_plain_minimax(random_positions: Any) -> None:
    game = ConnectFour(5, 4)
    plain, solver = brute_force(game), Solver(game)
    for state in random_positions(game, 1, 12, range(8, 9)):
        assert solver.solve(state).score == plain(state)


@pytest.mark.parametrize(("columns", "rows"), [(4, 4), (5, 4), (4, 5)])
def test_small_boards_are_draws_as_published(columns: int, rows: int) -> None:
    game = ConnectFour(columns, rows)
    assert solve(game, game.initial()).score == 0


@pytest.mark.slow
def test_six_by_five_is_a_draw_as_published() -> None:
    game = ConnectFour(6, 5)
    assert solve(game, game.initial()).score == 0


def test_mirrored_positions_are_worth_the_same(random_positions: Any) -> None:
    game = ConnectFour(5, 4)
    for state in random_positions(game, 2, 30, range(6, 14)):
        mirrored = game.initial()
        columns = [state.mover >> c * 5 & 0b1111 for c in range(5)], [state.other >> c * 5 & 0b1111 for c in range(5)]
        mirrored = Board(*(sum(column << (4 - c) * 5 for c, column in enumerate(side)) for side in columns))
        assert solve(game, state).score == solve(game, mirrored).score


def test_a_full_table_is_emptied_and_changes_nothing(random_positions: Any) -> None:
    game = ConnectFour(5, 4)
    small = Solver(game, table_size=50)
    for state in random_positions(game, 3, 20, range(8, 14)):
        assert small.solve(state).score == solve(game, state).score


def test_a_solver_gives_up_at_its_limit_and_refuses_a_finished_game() -> None:
    game = ConnectFour(7, 6)
    with pytest.raises(OutOfNodesError, match="more than 1,000 nodes"):
        solve(game, game.initial(), max_nodes=1000)
    over = Board(0b000_0000000, 0b1111)
    with pytest.raises(ValueError, match="the game is over"):
        solve(game, over)
    with pytest.raises(ValueError, match="the game is over"):
        Solver(game).action_scores(over)
