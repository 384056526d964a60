from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sightline.teachability.labels import measure_uncertainty


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12).filter(lambda xs: sum(xs) > 1e-3))
def test_entropy_is_scipys_and_everything_stays_in_its_range(weights):
    probabilities = np.array(weights) / sum(weights)
    found = measure_uncertainty(probabilities)
    assert found.entropy == pytest.approx(float(stats.entropy(probabilities)), abs=1e-9)
    assert found.effective_actions == pytest.approx(np.exp(found.entropy))
    for value in (found.entropy_normalised, found.margin, found.top_k_spread, found.gini):
        assert -1e-12 <= value <= 1 + 1e-12


def test_the_uniform_distribution_is_as_unsure_as_can_be_whatever_the_number_of_actions():
    for count in (2, 5, 40):
        found = measure_uncertainty(np.full(count, 1 / count), teacher=1)
        assert found.entropy_normalised == pytest.approx(1.0)
        assert found.margin == pytest.approx(1.0)
        assert found.gini == pytest.approx(1 - 1 / count)
        assert found.pi_teacher == pytest.approx(1 / count)


def test_a_single_action_leaves_no_doubt():
    found = measure_uncertainty([1.0])
    assert (found.entropy, found.entropy_normalised, found.margin, found.gini) == (0.0, 0.0, 0.0, 0.0)


def test_margin_and_spread_by_hand():
    found = measure_uncertainty([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125])
    assert found.margin == pytest.approx(0.75)
    assert found.top_k_spread == pytest.approx(1 - (0.5 - 0.03125))
