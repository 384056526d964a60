from __future__ import annotations

import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals
from sightline.webshop_env.episodes import goal_difficulty
from sightline.webshop_env.goals import GoalFilter, GoalSet, curriculum, find_goals, select_goals


@pytest.fixture(scope="module")
def many() -> GoalSet:
    return build_goals(Catalogue.generate(60, seed=2), "human", 2)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (GoalFilter(options=(2, 2)), lambda goal: len(goal.goal_options) == 2),
        (GoalFilter(attributes=(0, 1)), lambda goal: len(goal.attributes) <= 1),
        (GoalFilter(price=(20.0, 50.0)), lambda goal: 20 <= goal.price_upper <= 50),
        (GoalFilter(words=frozenset({"BLACK"})), lambda goal: "black" in goal.instruction_text.lower()),
        (GoalFilter(), lambda goal: True),
    ],
)
def test_a_filter_keeps_just_the_goals_it_describes(many: GoalSet, wanted: GoalFilter, holds) -> None:
    assert select_goals(many, wanted) == [index for index, goal in enumerate(many.goals) if holds(goal)]
    assert select_goals(many, wanted, within=range(5)) == [i for i in range(5) if holds(many.goals[i])]


def test_categories_are_those_of_the_goals_product(many: GoalSet) -> None:
    category = many.goals[0].category
    found = select_goals(many, GoalFilter(categories=frozenset({category})))
    assert 0 in found
    assert {many.goals[index].category for index in found} == {category}


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match=r"price must be a least and a greatest value, not \(9, 1\)"):
        GoalFilter(price=(9, 1))


def test_goals_are_found_by_their_instruction(many: GoalSet) -> None:
    text = many.goals[7].instruction_text
    same = [index for index, goal in enumerate(many.goals) if goal.instruction_text == text]
    assert find_goals(many, text) == same
    assert find_goals(many, f"Instruction:  {text.upper()} ") == same
    assert find_goals(many, f"{text} x") == []


def test_a_curriculum_goes_from_easy_to_hard_and_holds_every_goal_once() -> None:
    stages = curriculum({5: 0.2, 1: 0.9, 3: 0.2, 2: 0.0, 9: 0.5}, 2)
    assert stages == [[2, 3], [5, 9, 1]]
    for wrong in (0, 6):
        with pytest.raises(ValueError, match="expected 1 to 5 stages"):
            curriculum({5: 0.2, 1: 0.9, 3: 0.2, 2: 0.0, 9: 0.5}, wrong)


def test_difficulty_is_the_share_of_first_hits_that_do_not_lead_to_the_best_reward(shop: Shop) -> None:
    # Only one of the products that the lamp's words find is a lamp; any of ten chairs on a page will do.
    assert goal_difficulty(shop, 0) == 0.0
    made_up = Shop(catalogue := Catalogue.generate(60, seed=2), build_goals(catalogue, "human", 2))
    found = [goal_difficulty(made_up, goal) for goal in range(30)]
    assert all(0 <= value <= 1 for value in found)
    assert len(set(found)) > 3
