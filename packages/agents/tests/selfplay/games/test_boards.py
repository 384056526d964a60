from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.agents.planning import EvaluatorError, Search
from sightline.agents.selfplay import Board, ConnectFour, RandomGames, Solver, TicTacToe
from sightline.agents.selfplay.games.boards import pack, unpack

GAMES = [TicTacToe(), ConnectFour(4, 4), ConnectFour(6, 5), ConnectFour(7, 6), ConnectFour(8, 7)]


def cells_of(game: Any, stones: int) -> set[tuple[int, int]]:
    columns, rows = game.shape
    height = 3 if isinstance(game, TicTacToe) else rows + 1
    return {(c, r) for c in range(columns) for r in range(rows) if stones >> c * height + r & 1}


def has_line(cells: set[tuple[int, int]], length: int) -> bool:
    """By walking from every cell in every direction."""
    return any(
        all((c + k * dc, r + k * dr) in cells for k in range(length))
        for c, r in cells
        for dc, dr in ((1, 0), (0, 1), (1, 1), (1, -1))
    )


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_rules_hold_for_random_games_by_a_board_of_sets(game: Any) -> None:
    rng = np.random.default_rng(0)
    length = 3 if isinstance(game, TicTacToe) else 4
    for _ in range(120):
        state, sides = game.initial(), [set(), set()]
        for ply in range(game.shape[0] * game.shape[1] + 1):
            mover = ply % 2
            assert game.to_move(state) == mover
            full = sum(map(len, sides)) == game.shape[0] * game.shape[1]
            lines = [has_line(side, length) for side in sides]
            expected = 1.0 if lines[0] else -1.0 if lines[1] else 0.0 if full else None
            assert game.outcome(state) == expected
            if expected is not None:
                break
            assert (cells_of(game, state.mover), cells_of(game, state.other)) == (sides[mover], sides[1 - mover])
            action = int(rng.choice(game.legal(state)))
            if isinstance(game, TicTacToe):
                cell = divmod(action, 3)
            else:
                cell = (action, sum(c == action for side in sides for c, _ in side))
            sides[mover].add(cell)
            state = game.apply(state, action)


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_arrays_follow_the_same_rules(game: Any, random_positions: Any) -> None:
    states = random_positions(game, 1, 200, range(game.shape[0] * game.shape[1]))
    boards = pack(states)
    assert unpack(boards) == states
    legal = game.legal_mask(boards)
    assert [np.flatnonzero(row).tolist() for row in legal] == [game.legal(state) for state in states]
    rng = np.random.default_rng(2)
    actions = np.array([rng.choice(game.legal(state)) for state in states])
    after, won, full = game.place(boards, actions)
    expected = [game.apply(state, int(action)) for state, action in zip(states, actions, strict=True)]
    assert unpack(after) == expected
    outcomes = [game.outcome(state) for state in expected]
    assert won.tolist() == [outcome in (1, -1) for outcome in outcomes]
    assert (won | full).tolist() == [outcome is not None for outcome in outcomes]
    model = game.model()
    _, rewards, discounts = model.step(boards, actions)
    assert rewards.tolist() == won.astype(float).tolist()
    assert discounts.tolist() == [-1.0 if outcome is None else 0.0 for outcome in outcomes]


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_planes_show_the_stones_and_mirror_with_the_actions(game: Any, random_positions: Any) -> None:
    states = random_positions(game, 3, 50, range(8))
    planes = game.planes(pack(states))
    for state, (mine, theirs) in zip(states, planes, strict=True):
        assert set(zip(*np.nonzero(mine), strict=True)) == cells_of(game, state.mover)
        assert set(zip(*np.nonzero(theirs), strict=True)) == cells_of(game, state.other)
    mirror = game.mirror_actions()
    assert mirror[mirror].tolist() == list(range(game.max_actions))
    for state in states[:10]:
        action = game.legal(state)[0]
        moved = game.planes(pack([game.apply(state, action)]))[0]
        flipped = Board(*(_mirror(game, stones) for stones in state))
        mirrored = game.planes(pack([game.apply(flipped, int(mirror[action]))]))[0]
        np.testing.assert_array_equal(moved[:, ::-1], mirrored)


@pytest.mark.parametrize("game", [g for g in GAMES if isinstance(g, ConnectFour)], ids=repr)
def test_threats_show_the_empty_cells_that_complete_a_line_and_whose_rows_are_whose(
    game: Any, random_positions: Any
) -> None:
    seeing = ConnectFour(game.columns, game.rows, threats=True)
    states = random_positions(game, 5, 60, range(game.columns * game.rows))
    planes = seeing.planes(pack(states))
    np.testing.assert_array_equal(planes[:, :2], game.planes(pack(states)))
    every = {(column, row) for column in range(game.columns) for row in range(game.rows)}
    met = 0
    for state, shown, own in zip(states, planes[:, 2:4], planes[:, 4], strict=True):
        assert {row % 2 for _, row in zip(*np.nonzero(own), strict=True)} == {game.to_move(state)}
        assert own.sum() == game.columns * len(range(game.to_move(state), game.rows, 2))
        sides = [cells_of(game, stones) for stones in state]
        for side, plane in zip(sides, shown, strict=True):
            completing = {cell for cell in every - sides[0] - sides[1] if has_line(side | {cell}, 4)}
            assert set(zip(*np.nonzero(plane), strict=True)) == completing
            met += len(completing)
    assert met > 20
    assert repr(seeing) != repr(game)


@pytest.mark.parametrize("game", GAMES[:3], ids=repr)
def test_a_decisive_model_offers_wins_else_moves_without_a_winning_reply(game: Any, random_positions: Any) -> None:
    asked: list[Board] = []

    def judge(boards: Any) -> Any:
        asked.extend(unpack(boards))
        return np.ones((len(boards[0]), game.max_actions)), np.full(len(boards[0]), 0.25)

    def winning(state: Board) -> list[int]:
        if game.outcome(state) is not None:
            return []
        return [move for move in game.legal(state) if game.outcome(game.apply(state, move)) in (1, -1)]

    states = random_positions(game, 6, 200, range(3, game.shape[0] * game.shape[1]))
    expansion = game.model(judge, decisive=True).expand(pack(states))
    kinds = set()
    for state, legal, value in zip(states, expansion.legal, expansion.value.tolist(), strict=True):
        moves, wins = game.legal(state), winning(state)
        safe = [move for move in moves if not winning(game.apply(state, move))]
        assert np.flatnonzero(legal).tolist() == (wins or safe or moves)
        expected = 1.0 if wins else -1.0 if not safe else 0.25
        assert value == expected
        assert (state in asked) == (expected == 0.25)
        kinds.add((expected, len(safe) < len(moves)))
    assert kinds >= {(1.0, True), (-1.0, True), (0.25, True), (0.25, False)}
    ended = game.apply(states[0], game.legal(states[0])[0])
    while game.outcome(ended) is None:
        ended = game.apply(ended, game.legal(ended)[0])
    assert not game.model(judge, decisive=True).expand(pack([ended])).legal.any()


def test_decisive_moves_leave_every_value_as_it_is_and_find_it_in_fewer_simulations(random_positions: Any) -> None:
    """What is left out is no better than what is offered, so that a search to the end finds the solver's value."""
    game = ConnectFour(4, 4)
    solver, states = Solver(game), random_positions(game, 7, 40, range(8, 14))
    exact = [int(np.sign(solver.solve(state).score)) for state in states]
    search = Search(simulations=3000)
    plain = search.run(game.model(), states, executor="lockstep")
    narrow = search.run(game.model(decisive=True), states, executor="lockstep")
    assert narrow.exhausted.all()
    assert narrow.value.tolist() == exact
    assert narrow.simulations.sum() < plain.simulations.sum()
    for state, action, value in zip(states, narrow.action.tolist(), exact, strict=True):
        assert int(np.sign(solver.action_scores(state)[action])) == value


def test_an_evaluator_of_the_wrong_shape_is_refused_by_a_decisive_model() -> None:
    game = ConnectFour(4, 4)
    model = game.model(lambda boards: (np.zeros((1, 4)), np.zeros(1)), decisive=True)
    with pytest.raises(EvaluatorError, match="2 states with 4 actions"):
        model.expand(pack([game.initial(), game.apply(game.initial(), 0)]))


def _mirror(game: Any, stones: int) -> int:
    columns, rows = game.shape
    height = 3 if isinstance(game, TicTacToe) else rows + 1
    return sum(1 << (columns - 1 - c) * height + r for c, r in cells_of(game, stones))


def test_random_games_have_the_mean_of_all_ways_to_play_and_do_not_depend_on_the_batch(random_positions: Any) -> None:
    game = TicTacToe()
    states = random_positions(game, 4, 12, range(3, 6))

    def chance(state: Board) -> float:
        """Expected result of random play for the side to move, by enumeration."""
        outcome = game.outcome(state)
        if outcome is not None:
            return outcome if game.to_move(state) == 0 else -outcome
        legal = game.legal(state)
        return sum(-chance(game.apply(state, action)) for action in legal) / len(legal)

    judge = RandomGames(game, games=3000)
    _, values = judge(pack(states))
    np.testing.assert_allclose(values, [chance(state) for state in states], atol=0.06)
    _, alone = judge(pack(states[5:6]))
    assert alone[0] == values[5]
    one = RandomGames(game, games=1)
    assert set(one(pack(states))[1]) <= {-1.0, 0.0, 1.0}
    assert (one(pack(states * 20))[1][:12] == one(pack(states))[1]).all()
    assert (RandomGames(game, games=1, seed=1)(pack(states * 20))[1] != one(pack(states * 20))[1]).any()


def test_boards_that_cannot_be_played_are_refused() -> None:
    for columns, rows in ((3, 6), (7, 3), (9, 7), (64, 1)):
        with pytest.raises(ValueError, match="cannot be played"):
            ConnectFour(columns, rows)
    with pytest.raises(ValueError, match="evaluator must be"):
        ConnectFour().model("network")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="games must be at least 1"):
        RandomGames(ConnectFour(), games=0)


def test_a_board_is_drawn_with_the_first_player_s_stones_as_crosses() -> None:
    game = ConnectFour(4, 4)
    state = game.initial()
    for action in (1, 1, 3):
        state = game.apply(state, action)
    assert game.text(state) == ". . . .\n. . . .\n. o . .\n. x . x"
    assert TicTacToe().text(Board(0b1, 0b10)) == ". . .\no . .\nx . ."
