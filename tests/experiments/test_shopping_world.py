"""The shop of the experiments: what its actions are worth, and what its teachers reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.shopping.settings import Phase2Settings
from experiments.shopping.teachers import watch_teachers_stage
from experiments.shopping.world import World, action_values, expert, needs_no_choice, open_world
from lab.run import RunDirectory
from sightline.agents.grammar import webshop_grammar
from sightline.agents.records import best_actions


@pytest.fixture(scope="module")
def world() -> World:
    return open_world(Phase2Settings(generated_products=150, training_goals=20, validation_goals=8, test_goals=12))


def test_the_experts_action_is_among_those_of_the_highest_value_until_it_has_bought(world: World) -> None:
    (environment,) = world.environments(1)
    for goal in world.splits["test"]:
        _, info = environment.reset(seed=0, options={"goal": goal})
        ended, reward = False, 0.0
        while not ended:
            actions = webshop_grammar.candidate_actions(info["instruction_text"], info["available_actions"])
            values = action_values(environment, actions)
            action = expert(environment)
            assert action in best_actions(actions, values, None)
            promised = max(values)
            _, reward, ended, _, info = environment.step(action)
        assert reward == pytest.approx(promised, abs=0.002)  # the last step costs a thousandth


def test_the_expert_earns_all_that_can_be_earned_and_who_only_reads_does_not(world: World, tmp_path: Path) -> None:
    found = watch_teachers_stage(RunDirectory(tmp_path, {}), world, range(30))
    assert found.expert == found.reachable
    assert sum(found.reader) < sum(found.expert)
    assert 0 < sum(found.several) < 30
    assert "any of them is right" in found.sentences()[1]


def test_a_control_goal_asks_for_no_option_and_its_words_lead_to_a_purchase_of_full_reward(world: World) -> None:
    goals = range(len(world.shop.goals.goals))
    kept = [goal for goal in goals if needs_no_choice(world.shop, goal)]
    assert 0 < len(kept) < len(goals) / 2
    assert not any(world.shop.goals.goals[goal].goal_options for goal in kept)
    control = open_world(Phase2Settings(generated_products=150, training_goals=20, test_goals=5, pages="control"))
    assert set(control.splits["test"]) <= set(kept)
