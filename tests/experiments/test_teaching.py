"""The experiment with teachable moments: shop and teachers keep teachability's contracts, splits do not leak."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.teaching.labelling import judge_tips
from experiments.teaching.predicting import rank
from experiments.teaching.settings import EvaluateSettings, StudentSettings, TeachingSettings
from experiments.teaching.teachers import BestTeacher, GoalTeacher, hint_for
from experiments.teaching.tips import MIXTURE, Moment, make_example
from experiments.teaching.world import ShopDynamics, goal_tasks, open_world_stage, product_of, split_goals
from lab.run import RunDirectory
from sightline.agents.grammar import webshop_grammar
from sightline.teachability import (
    ActionPolicy,
    Labeller,
    LabelSettings,
    RestorableEnvironment,
    RestoredDynamics,
    StateView,
    Teacher,
    ValueGraph,
    check_dynamics,
    collect_episodes,
    mine_failures,
)
from sightline.teachability.errors import LeakError
from sightline.teachability.mining import make_splits, take_snapshot
from sightline.webshop_env import Catalogue, Shop, ShopState, WebShopEnv, build_goals
from sightline.webshop_env.episodes import open_shop
from sightline.webshop_env.episodes import snapshot as snapshots


@pytest.fixture(scope="module")
def dynamics() -> ShopDynamics:
    catalogue = Catalogue.generate(products=120, seed=3)
    return ShopDynamics(Shop(catalogue, build_goals(catalogue, "human", seed=3), step_limit=8))


class Chooser:
    """Prefers buying and early products; a tip that names an action makes that one likelier."""

    name = fingerprint = "chooser"

    def distributions(self, views: Any, patches: Any = None) -> list[np.ndarray]:
        answers = []
        for view, tip in zip(views, patches or [None] * len(views), strict=True):
            scores = np.array([2.0 * (action == "click[buy now]") for action in view.actions])
            scores -= 0.3 * np.arange(len(view.actions))
            scores += np.array([4.0 * (tip is not None and action in tip) for action in view.actions])
            weights = np.exp(scores - scores.max())
            answers.append(weights / weights.sum())
        return answers


def names_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_the_shop_s_environment_offers_what_teachability_needs_of_a_restorable_one(dynamics: ShopDynamics) -> None:
    environment = WebShopEnv(shop=dynamics.shop)
    for name in names_of(RestorableEnvironment):
        wanted = getattr(RestorableEnvironment, name)
        assert name in dir(environment)
        if inspect.isfunction(wanted):
            parameters = inspect.signature(getattr(environment, name)).parameters
            assert set(parameters) == set(inspect.signature(wanted).parameters) - {"self"}, name


def test_the_shop_keeps_every_rule_of_dynamics(dynamics: ShopDynamics) -> None:
    for goal in range(5):
        check_dynamics(dynamics, dynamics.start(goal), depth=6)


def test_an_environment_that_is_restored_gives_the_graph_of_the_pure_shop(dynamics: ShopDynamics) -> None:
    shop = dynamics.shop
    environment = WebShopEnv(shop=shop, observation_mode="text_rich")

    def read(observation: str, info: Any) -> StateView:
        instruction = info["instruction_text"]
        actions = webshop_grammar.candidate_actions(instruction, info["available_actions"])
        return StateView(instruction, webshop_grammar.page_text(observation, instruction), actions)

    def timeless(snapshot: bytes) -> bytes:
        return snapshots.encode(shop, snapshots.decode(shop, snapshot)[0]._replace(steps=0))

    restored = RestoredDynamics(environment, max_steps=shop.step_limit or 0, read=read, timeless=timeless)
    first = restored.start(seed=0, options={"goal": 7})
    start = dynamics.decode(first.snapshot)
    assert restored.actions(first) == dynamics.actions(start)
    expected = ValueGraph(dynamics, Chooser(), tolerance=0.0, max_prompts=12).action_values(start)
    found = ValueGraph(restored, Chooser(), tolerance=0.0, max_prompts=12).action_values(first)
    assert found.keys() == expected.keys()
    for action, bound in expected.items():
        assert (found[action].low, found[action].high) == pytest.approx((bound.low, bound.high), abs=1e-12)


def test_a_snapshot_on_disk_is_labelled_as_the_state_it_was(dynamics: ShopDynamics) -> None:
    episodes = collect_episodes(dynamics, Chooser(), goal_tasks(dynamics, range(6)), seed=0)
    moments = mine_failures(episodes, "uniform")[:3]
    labeller = Labeller(dynamics, Chooser(), GoalTeacher(dynamics), settings=LabelSettings(max_prompts=16))
    again = type(moments[0]).model_validate_json(moments[0].model_dump_json())
    assert dynamics.encode(dynamics.decode(again.state_bytes)) == moments[0].state_bytes
    assert labeller.label([again]) == labeller.label(moments[:1])


def test_both_teachers_advise_and_act_with_what_the_page_offers(dynamics: ShopDynamics) -> None:
    for teacher in (GoalTeacher(dynamics), BestTeacher(dynamics, Chooser(), max_prompts=6)):
        assert all(hasattr(teacher, name) for name in names_of(Teacher))
        for goal in range(4):
            state = dynamics.start(goal)
            (action,) = teacher.act([state])
            assert action in dynamics.actions(state)
            (hint,) = teacher.advise([dynamics.view(state)], [state])
            assert getattr(hint, "action", action) == action


def test_who_knows_the_goal_wins_from_nearly_every_first_page(dynamics: ShopDynamics) -> None:
    teacher = GoalTeacher(dynamics)
    won = 0
    for goal in range(30):
        state: ShopState = dynamics.start(goal)
        end = None
        while dynamics.steps_left(state) and (end is None or not end.ended):
            end = dynamics.step(state, teacher.act([state])[0])
            state = end.state
        won += end is not None and end.success
    assert won >= 24


@given(st.lists(st.integers(0, 400), min_size=3, max_size=60, unique=True))
def test_no_product_stands_in_two_splits(goals: list[int]) -> None:
    tasks = {goal: f"product {goal % 17}" for goal in goals}
    manifest = make_splits(tasks, salt="test")
    for split in manifest.shares:
        inside = {tasks[goal] for goal in manifest.members(split)}
        outside = {tasks[goal] for goal in goals if manifest.split(goal) != split}
        assert not inside & outside
    with pytest.raises(LeakError):
        make_splits(tasks, salt="test", used={tasks[goals[0]]})


def test_development_goals_are_no_training_goals(dynamics: ShopDynamics) -> None:
    parts = [set(split_goals(dynamics, name)) for name in ("test", "dev", "train")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(dynamics.shop.goals.goals)
    assert product_of(dynamics, 0) in dynamics.shop.catalogue


def test_half_of_the_tips_that_decide_name_a_random_action_and_the_rest_keeps_the_student(
    dynamics: ShopDynamics,
) -> None:
    episodes = collect_episodes(dynamics, Chooser(), goal_tasks(dynamics, range(10)), seed=0)
    moments = [
        Moment(take_snapshot(one, place, mined_by="test"), step.probabilities, step.actions[0])
        for one in episodes
        for place, step in enumerate(one.steps)
        if len(step.actions) > 1
    ]
    generator = np.random.default_rng(0)
    examples = [make_example(moments, generator) for _ in range(600)]
    untipped = [one for one in examples if "\ntip: " not in one.prompt]
    assert abs(len(untipped) / len(examples) - MIXTURE[None]) < 0.06
    assert all(one.target is not None for one in untipped)
    decided = [one for one in examples if one.target is None]
    assert 0.3 < np.mean([one.chosen == 0 for one in decided]) < 0.75
    for one in decided:
        assert one.actions[one.chosen].casefold() in one.prompt.rpartition("\ntip: ")[2].casefold()


def gate_row(none: float, answer: float, placebo: float, mismatched: float, demo: float) -> Any:
    chances = {
        "placebo": placebo,
        "mismatched": mismatched,
        "answer": answer,
        "demo": demo,
        "contrast": 0.5,
        "hint": 0.3,
    }
    effects = [SimpleNamespace(kind=kind, probabilities=(value, 1 - value)) for kind, value in chances.items()]
    return SimpleNamespace(
        split="calibration", hint=hint_for("click[a]"), teacher_action="click[a]",
        patches=SimpleNamespace(effects=effects),
        uncertainty=SimpleNamespace(pi_teacher=none), snapshot=SimpleNamespace(actions=("click[a]", "click[b]")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (gate_row(0.2, 0.7, 0.21, 0.2, 0.6), ""),
        (gate_row(0.2, 0.5, 0.21, 0.2, 0.6), "bare answer"),
        (gate_row(0.2, 0.7, 0.3, 0.2, 0.6), "placebo"),
        (gate_row(0.2, 0.7, 0.21, 0.65, 0.6), "another page"),
    ],
)
def test_the_gate_of_tips_names_the_rule_that_does_not_hold(row: Any, wrong: str) -> None:
    gate = judge_tips([row])
    assert gate.passed == (not wrong)
    assert wrong in gate.reason


def test_a_gate_without_moments_is_closed() -> None:
    assert not judge_tips([]).passed


def test_a_chat_teacher_must_be_described() -> None:
    with pytest.raises(ValueError, match=r"--chat\.model"):
        StudentSettings(teacher="chat")


def test_the_learner_scores_as_the_student_acts_whatever_a_file_says_of_it() -> None:
    settings = TeachingSettings.model_validate({"temperature": 0.5, "learner": {"rank": 16}})
    learner = settings.learner_config
    assert (learner.rank, learner.temperature, learner.length_normalised) == (16, 0.5, True)
    assert EvaluateSettings().learner_config == StudentSettings().learner_config


def test_the_policy_protocol_is_what_the_test_s_student_keeps() -> None:
    assert all(hasattr(Chooser(), name) for name in names_of(ActionPolicy))


def test_moments_without_predictions_are_not_ranked(dynamics: ShopDynamics) -> None:
    assert len(rank([], [], tips_work=True).payoffs) == 0


def test_a_run_says_how_its_shop_is_made_so_that_its_snapshots_open_elsewhere(tmp_path: Path) -> None:
    settings = TeachingSettings(generated_products=100, shop_seed=5, step_limit=9, test_goals=10, pool_goals=10)
    world = open_world_stage(settings, RunDirectory(tmp_path / "run", {}))
    again = open_shop(tmp_path / "run" / "shop.json")
    state = world.dynamics.start(3)
    restored, _ = snapshots.decode(again, snapshots.encode(world.dynamics.shop, state))
    assert restored == state
    assert again.step_limit == 9
