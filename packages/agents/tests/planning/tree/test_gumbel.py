from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.planning.tree.gumbel import halving_schedule, improved_logits, improved_logits_of_one


def test_the_schedule_of_four_actions_and_eight_simulations_is_two_halvings() -> None:
    """Two phases of four simulations: each of four actions once, then each of the better two twice."""
    assert halving_schedule(4, 8)[4].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]


def test_a_single_action_is_simply_visited_again_and_again() -> None:
    assert halving_schedule(3, 5)[1].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("simulations", [2, 16, 33, 200])
@pytest.mark.parametrize("considered", [2, 3, 5, 16])
def test_a_schedule_can_be_followed(considered: int, simulations: int) -> None:
    """At every simulation some action has just as many visits as are asked for."""
    visits = [0] * considered
    for turn in halving_schedule(considered, simulations)[considered]:
        assert turn in visits
        visits[visits.index(turn)] += 1


def test_unvisited_actions_are_completed_by_the_mixed_value_worked_by_hand() -> None:
    """Priors .5, .3, .2; q .4 (2 visits), .8 (1 visit), unvisited; evaluator .1.

    Weighted q = (.5 * .4 + .3 * .8) / .8 = .55; mixed = (.1 + 3 * .55) / 4 = .4375. Rescaled between .4 and .8:
    0, 1, .09375; sigma = (50 + 2) * .1 times that.
    """
    logits = np.log([0.5, 0.3, 0.2])
    q, visits = np.array([0.4, 0.8, np.nan]), np.array([2.0, 1.0, 0.0])
    improved = improved_logits(
        q[:, None], np.array([[0.5], [0.3], [0.2]]), logits[:, None], visits[:, None], np.array([0.1]), None
    )
    expected = logits + 5.2 * np.array([0, 1, 0.09375])
    np.testing.assert_allclose(improved[:, 0], expected, rtol=1e-12)
    one = improved_logits_of_one(q.tolist(), [0.5, 0.3, 0.2], logits.tolist(), [2, 1, 0], 0.1, None)
    np.testing.assert_allclose(one, expected, rtol=1e-12)


def test_illegal_actions_neither_count_nor_rise() -> None:
    q = np.array([[0.4], [0.8], [np.nan]])
    logits = np.array([[0.0], [0.0], [-np.inf]])
    prior = np.array([[0.5], [0.5], [0.0]])
    visits = np.array([[1.0], [1.0], [0.0]])
    improved = improved_logits(q, prior, logits, visits, np.array([-5.0]), None)
    assert improved[:, 0].tolist() == pytest.approx([0.0, 5.1, -np.inf])
