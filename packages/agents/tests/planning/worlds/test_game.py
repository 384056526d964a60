from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.planning import ModelError, RandomPlay, Search, as_model


class Nim:
    """Take one to three matches; whoever takes the last one wins."""

    max_actions = 3

    def __init__(self, matches: int) -> None:
        self.matches = matches

    def initial(self) -> tuple[int, int]:
        return self.matches, 0

    def legal(self, state: tuple[int, int]) -> list[int]:
        return list(range(min(3, state[0])))

    def apply(self, state: tuple[int, int], action: int) -> tuple[int, int]:
        return state[0] - action - 1, 1 - state[1]

    def outcome(self, state: tuple[int, int]) -> float | None:
        return None if state[0] else 1.0 if state[1] == 1 else -1.0

    def to_move(self, state: tuple[int, int]) -> int:
        return state[1]

    def key(self, state: tuple[int, int]) -> tuple[int, int]:
        return state


@pytest.mark.parametrize("matches", range(1, 13))
def test_a_game_of_twenty_lines_is_played_perfectly(matches: int) -> None:
    """Nim is lost with a multiple of four matches, else won by leaving one."""
    result = Search(simulations=2000).run(Nim(matches), [Nim(matches).initial()])
    assert result.exhausted[0]
    assert result.value[0] == (-1 if matches % 4 == 0 else 1)
    if matches % 4:
        assert result.action[0] + 1 == matches % 4


def test_random_games_of_a_state_always_end_alike_and_their_mean_is_right() -> None:
    """The chance of the side to move, by the number of matches left, is worked out by hand.

    P(1) = 1; P(2) = 1/2 (1 - P(1)) + 1/2 = 1/2; P(3) = 1/3 (1 - P(2)) + 1/3 (1 - P(1)) + 1/3 = 1/2.
    """
    game = Nim(3)
    judge = RandomPlay(game, games=4000, seed=1)
    _, values = judge([(3, 0), (3, 1), (2, 0)])
    assert values.tolist() == judge([(3, 0), (3, 1), (2, 0)])[1].tolist()
    np.testing.assert_allclose(values, 0.0, atol=0.06)
    assert judge([(1, 0), (1, 1)])[1].tolist() == [1, 1]
    assert RandomPlay(game, seed=2, games=4000)([(3, 0)])[1] != values[:1]


def test_a_player_may_move_twice_in_a_row() -> None:
    """The first player adds two digits, the second one: the sign changes only when the side does."""

    class Twice:
        max_actions = 2

        def initial(self) -> tuple[int, ...]:
            return ()

        def legal(self, state: tuple[int, ...]) -> list[int]:
            return [0, 1]

        def apply(self, state: tuple[int, ...], action: int) -> tuple[int, ...]:
            return (*state, action)

        def to_move(self, state: tuple[int, ...]) -> int:
            return (0, 0, 1, 1)[len(state)]

        def outcome(self, state: tuple[int, ...]) -> float | None:
            return None if len(state) < 3 else (1.0 if state == (1, 0, 0) or state == (1, 0, 1) else -1.0)

        def key(self, state: tuple[int, ...]) -> tuple[int, ...]:
            return state

    result = Search(simulations=100).run(Twice(), [()])
    assert result.exhausted[0]
    assert result.value[0] == 1
    assert result.action[0] == 1
    assert result.plans == (None,)  # of no use where another side moves too


def test_a_game_that_goes_on_without_a_legal_action_is_named() -> None:
    class Stuck(Nim):
        def legal(self, state: tuple[int, int]) -> list[int]:
            return [] if state[0] == 2 else super().legal(state)

    with pytest.raises(ModelError, match=r"\(2, "):
        Search(simulations=50).run(as_model(Stuck(5), "rollouts"), [(5, 0)])
    with pytest.raises(ModelError, match=r"\(2, "):
        Search(simulations=50).run(as_model(Stuck(5)), [(5, 0)])


def test_an_unknown_evaluator_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluator must be"):
        as_model(Nim(3), "best")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="games must be at least 1"):
        RandomPlay(Nim(3), games=0)
