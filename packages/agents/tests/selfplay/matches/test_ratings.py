from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from sightline.agents.selfplay import Arena, ConnectFour, MCTSPlayer, RandomPlayer, round_robin
from sightline.agents.selfplay.matches.ratings import bradley_terry


def test_ratings_are_the_likeliest_by_a_general_optimiser() -> None:
    rng = np.random.default_rng(0)
    scores = {
        pair: rng.choice([0, 0.25, 0.5, 0.75, 1.0], 30, p=weights)
        for pair, weights in {
            (0, 1): [0.1, 0.1, 0.2, 0.2, 0.4],
            (0, 2): [0.3, 0.2, 0.2, 0.2, 0.1],
            (1, 2): [0.5, 0.2, 0.1, 0.1, 0.1],
        }.items()
    }

    def loss(ratings: np.ndarray) -> float:
        total = 0.0
        for (first, second), values in scores.items():
            expected = 1 / (1 + 10 ** ((ratings[second] - ratings[first]) / 400))
            won, lost = values.sum() + 0.25, len(values) - values.sum() + 0.25
            total -= won * np.log(expected) + lost * np.log(1 - expected)
        return total + ratings.mean() ** 2

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(bradley_terry(3, scores), best - best.mean(), atol=0.01)


def test_stronger_players_are_rated_higher_and_the_interval_holds_the_rating() -> None:
    players = [RandomPlayer(), MCTSPlayer(4), MCTSPlayer(60)]
    table = round_robin(players, Arena(ConnectFour(5, 4), openings=20), resamples=100)
    ratings = list(table.ratings.values())
    assert [rating.value for rating in ratings] == sorted(rating.value for rating in ratings)
    assert sum(rating.value for rating in ratings) == pytest.approx(0, abs=1e-6)
    assert all(rating.low <= rating.value <= rating.high for rating in ratings)
    assert table.pairs == 20
    assert type(table).model_validate_json(table.model_dump_json()) == table


def test_a_player_that_won_everything_has_a_finite_rating() -> None:
    ratings = bradley_terry(2, {(0, 1): np.ones(20)})
    assert np.isfinite(ratings).all()
    assert ratings[0] > 300


def test_players_without_different_names_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        round_robin([RandomPlayer(), RandomPlayer()], Arena(ConnectFour(5, 4)))
