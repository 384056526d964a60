from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sightline.agents.planning import Search
from sightline.agents.selfplay import Board, ConnectFour, TicTacToe
from sightline.agents.selfplay.games.boards import unpack
from sightline.agents.selfplay.learning.generation import Generator

GAME = ConnectFour(5, 4)


def generator(**settings: Any) -> Generator:
    search = Search(simulations=8, method="gumbel", explore=True, ties="random", seed=settings.pop("seed", 0))
    defaults: dict[str, Any] = {"opening_plies": 3, "outcome_share": 1.0}
    return Generator(settings.pop("game", GAME), search, settings.pop("games", 6), **defaults | settings)


def test_a_won_game_is_worth_1_and_minus_1_in_turn_from_its_end() -> None:
    """Whoever made the last move won: its positions learn 1, the other side's -1."""
    games = generator(games=1, opening_plies=0)
    model = GAME.model()
    while True:
        targets, lengths = games.advance(model)
        if not lengths:
            continue
        states = unpack(targets.boards)
        assert len(states) == lengths[0]
        assert states[0] == Board(0, 0)
        for before, after in pairwise(states):
            assert after in [GAME.apply(before, action) for action in GAME.legal(before)]
        if abs(targets.value[-1]) == 1:
            assert targets.value[-1] == 1
            outcome = np.array([(-1.0) ** (len(states) - 1 - at) for at in range(len(states))])
            # A search may have known an exact value that a later mistake threw away.
            agree = targets.value == outcome
            assert agree.mean() > 0.6
            return


def test_every_policy_is_a_distribution_over_legal_actions() -> None:
    games = generator()
    model = GAME.model("rollouts")
    seen = 0
    while seen < 100:
        targets, _ = games.advance(model)
        for state, policy in zip(unpack(targets.boards), targets.policy, strict=True):
            assert policy.sum() == pytest.approx(1, abs=1e-5)
            illegal = [action for action in range(5) if action not in GAME.legal(state)]
            assert not policy[illegal].any()
        seen += len(targets)


def test_the_value_learnt_is_a_mixture_of_the_end_and_the_search() -> None:
    def values(share: float) -> Any:
        games = generator(outcome_share=share, game=TicTacToe(), opening_plies=0, games=3)
        model = TicTacToe().model("rollouts")
        found = [games.advance(model)[0].value for _ in range(30)]
        return np.concatenate(found).astype(float)

    ends, searches, mixed = values(1.0), values(0.0), values(0.25)
    exact = ends == searches
    np.testing.assert_allclose(mixed[~exact], 0.25 * ends[~exact] + 0.75 * searches[~exact], atol=1e-6)
    assert (~exact).sum() > 10


def test_games_in_progress_go_on_from_their_state() -> None:
    model = GAME.model("rollouts")
    games, again = generator(), generator(seed=0)
    for _ in range(9):
        games.advance(model)
    again.load_state(games.state())
    assert again.state().keys() == games.state().keys()
    for _ in range(12):
        (first, lengths), (second, same) = games.advance(model), again.advance(model)
        assert lengths == same
        np.testing.assert_array_equal(first.mover, second.mover)
        np.testing.assert_array_equal(first.policy, second.policy)
        np.testing.assert_array_equal(first.value, second.value)
    assert games.finished == again.finished > 0


def test_other_seeds_play_other_games() -> None:
    model = GAME.model("rollouts")
    boards = []
    for seed in (0, 1):
        games = generator(seed=seed)
        for _ in range(4):
            games.advance(model)
        boards.append(games.state()["boards_mover"].tolist())
    assert boards[0] != boards[1]
