from __future__ import annotations

import pytest

from sightline.agents.records import Event, Situation, in_two_page_loop
from sightline.agents.trajectory import Step

ACTIONS = ("click[a]", "click[b]", "click[c]")


def test_every_action_of_the_highest_value_is_best_also_where_sums_are_rounded() -> None:
    situation = Situation("x", (Event("OBS", "page"),), ACTIONS, "click[c]", (0.1 + 0.2, 0.1, 0.3))
    assert situation.best_actions == ("click[a]", "click[c]")


def test_without_values_the_experts_action_is_best_and_without_either_none() -> None:
    events = (Event("OBS", "page"),)
    assert Situation("x", events, ACTIONS, "click[b]").best_actions == ("click[b]",)
    assert Situation("x", events, ACTIONS).best_actions == ()


def test_a_step_has_one_value_per_candidate() -> None:
    with pytest.raises(ValueError, match=r"values should be one per available action \(3, not 2\)"):
        Step(observation="", available_actions=ACTIONS, action="click[a]", reward=0.0, values=(1.0, 0.0))


@pytest.mark.parametrize(
    ("pages", "loops"),
    [
        ("", False),
        ("abab", False),
        ("ababa", True),
        ("abaca", True),  # another product each time
        ("xxabaca", True),
        ("abacad", False),  # the page that is always left
        ("abcabca", False),
        ("aabaa", False),
        ("aaaaa", True),
        ("abacb", False),
    ],
)
def test_a_third_visit_with_one_page_between_is_a_loop(pages: str, loops: bool) -> None:
    assert in_two_page_loop(list(pages)) is loops
