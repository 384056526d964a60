import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sightline.tamiyo_policy.hosts.counterfactual import (
    coalition,
    contributions,
    gain,
    interactions,
    members,
    shapley_values,
    wanted_coalitions,
)

SLOTS = 4
points = st.floats(-100, 100, allow_nan=False, width=32)
games = arrays.arrays(np.float64, (2, 2**SLOTS), elements=points)
roles = arrays.arrays(np.int64, (2, SLOTS), elements=st.integers(0, 2))


def split_roles(role):
    return role == 1, role == 2


def test_members_and_coalition_are_inverse():
    assert coalition(members(SLOTS)).tolist() == list(range(2**SLOTS))


@pytest.mark.parametrize("num_slots", [0, 9])
def test_too_few_or_too_many_slots_are_refused(num_slots):
    with pytest.raises(ValueError, match="1 to 8 slots"):
        members(num_slots)


@given(games, roles)
def test_a_contribution_is_what_is_lost_without_the_seed_alone(values, role):
    players, fixed = split_roles(role)
    found = contributions(values, players, fixed)
    for host in range(2):
        on = {slot for slot in range(SLOTS) if role[host, slot]}
        for slot in range(SLOTS):
            without = sum(1 << other for other in on - {slot})
            expected = values[host, sum(1 << other for other in on)] - values[host, without]
            assert (found[host, slot] == expected) if players[host, slot] else np.isnan(found[host, slot])


@given(roles, st.sampled_from(["leave_one_out", "pairs", "every"]))
def test_what_is_wanted_suffices_for_what_is_computed(role, scope):
    players, fixed = split_roles(role)
    values = np.where(wanted_coalitions(players, fixed, scope), 1.0, np.nan)
    assert not np.isnan(gain(values, players | fixed)).any()
    assert np.array_equal(np.isnan(contributions(values, players, fixed)), ~players)
    if scope != "leave_one_out":
        assert np.array_equal(np.isnan(interactions(values, players, fixed)), ~players)
    if scope == "every":
        assert np.array_equal(np.isnan(shapley_values(values, players | fixed)), role == 0)


def test_hosts_without_seeds_are_measured_once():
    nobody = np.zeros((1, 3), np.bool_)
    assert wanted_coalitions(nobody, nobody, "pairs").sum() == 1


def test_fossils_stay_on_except_where_everything_is_off():
    players, fixed = np.array([[True, False, False]]), np.array([[False, True, False]])
    wanted = np.flatnonzero(wanted_coalitions(players, fixed, "pairs")[0])
    assert wanted.tolist() == [0b000, 0b010, 0b011]


@given(games, roles)
def test_shapley_values_agree_with_the_mean_over_all_orders(values, role):
    players = role > 0
    found = shapley_values(values, players)
    for host in range(2):
        present = np.flatnonzero(players[host]).tolist()
        orders = list(itertools.permutations(present))
        expected = dict.fromkeys(present, 0.0)
        for order in orders:
            joined = 0
            for slot in order:
                expected[slot] += (values[host, joined | 1 << slot] - values[host, joined]) / len(orders)
                joined |= 1 << slot
        np.testing.assert_allclose(found[host, present], [expected[slot] for slot in present], atol=1e-6)
    np.testing.assert_allclose(np.nansum(found, 1), gain(values, players), atol=1e-6)


@given(games)
def test_the_interaction_of_two_seeds_is_what_the_pair_has_beyond_its_members(values):
    players = np.array([[True, True, False, False]] * 2)
    found = interactions(values, players, np.zeros_like(players))
    expected = values[:, 3] - values[:, 1] - values[:, 2] + values[:, 0]
    np.testing.assert_allclose(found[:, :2], np.stack([expected, expected], 1), atol=1e-9)
