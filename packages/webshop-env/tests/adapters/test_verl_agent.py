"""The shop in the words of verl-agent, which is on no registry: against its published interface."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, GoalError, Shop, WebShopEnv
from sightline.webshop_env.adapters.verl_agent import VerlAgentEnv, build_webshop_envs
from sightline.webshop_env.episodes import best_action
from sightline.webshop_env.goals import GoalSet, HeldGoals


@pytest.fixture(scope="module")
def many(catalogue: Catalogue, goals: GoalSet) -> Shop:
    """600 goals; every third asks for the chair, those from 500 on say so in their text."""
    chair = goals.goals[2]
    numbered = tuple(replace(chair, instruction_text=f"wish {number}") for number in range(600))
    return Shop(catalogue, replace(goals, goals=HeldGoals(numbered)), step_limit=4)


def wish(observation: str) -> int:
    """The goal, as verl-agent finds it: the third part, after one that says 'Instruction:'."""
    parts = observation.split(" [SEP] ")
    assert parts[1] == "Instruction:"
    return int(parts[2].removeprefix("wish "))


@pytest.mark.parametrize(("is_train", "numbers"), [(True, range(500, 600)), (False, range(500))])
def test_goals_come_from_the_split_and_groups_share_theirs(many: Shop, is_train: bool, numbers: range) -> None:
    envs = VerlAgentEnv(many, env_num=20, group_n=3, is_train=is_train, seed=1)
    observations, infos = envs.reset()
    wishes = [wish(observation) for observation in observations]
    assert len(wishes) == len(infos) == envs.num_processes == 60
    assert wishes[::3] == wishes[1::3] == wishes[2::3]
    assert len(set(wishes)) == 20
    assert set(wishes) <= set(numbers)
    assert [wish(observation) for observation in envs.reset()[0]] != wishes
    again = VerlAgentEnv(many, env_num=20, group_n=3, is_train=is_train, seed=1)
    assert again.reset()[0] == observations


def test_a_won_episode_earns_ten_and_any_other_nothing(many: Shop) -> None:
    envs = VerlAgentEnv(many, env_num=3)
    _, infos = envs.reset()
    assert (
        infos
        == [
            {
                "available_actions": {"has_search_bar": True, "clickables": ["search"]},
                "won": False,
                "task_score": 0.0,
                "is_action_valid": True,
                "action_is_valid": True,
            }
        ]
        * 3
    )
    envs.step(["search[chair 7]", "search[chair 7]", "search[lamp]"])
    envs.step(["click[b0chair07]", "click[b0chair07]", "click[b0lamp]"])
    observations, rewards, dones, infos = envs.step(["click[buy now]", "click[nothing]", "click[buy now]"])
    assert rewards == [10.0, 0.0, 0.0]
    assert dones == [True, False, True]
    assert [info["won"] for info in infos] == [True, False, False]
    assert [info["is_action_valid"] for info in infos] == [True, False, True]
    assert [info["action_is_valid"] for info in infos] == [True, False, True]
    assert "nothing to click with the label 'nothing'" in infos[1]["action_error"]
    assert "action_error" not in infos[0]
    assert infos[0]["task_score"] == 1.0
    assert 0.0 <= infos[2]["task_score"] < 1.0
    assert infos[0]["available_actions"] == {"has_search_bar": False, "clickables": []}
    assert "buy now" in infos[1]["available_actions"]["clickables"]
    assert observations[0].startswith("Thank you for shopping with us!")


def test_steps_are_those_of_the_environment(many: Shop) -> None:
    envs = VerlAgentEnv(many, env_num=1, is_train=False, seed=3)
    observation = envs.reset()[0][0]
    env = WebShopEnv(shop=many)
    assert env.reset(options={"goal": wish(observation)})[0] == observation
    for action in ("search[chair]", "click[next >]", "click[b0chair10]"):
        (observation,), _, (done,), (info,) = envs.step([action])
        expected, _, terminated, truncated, their_info = env.step(action)
        assert (observation, done) == (expected, terminated or truncated)
        assert info["available_actions"] == their_info["available_actions"]


def test_the_step_limit_of_the_shop_ends_an_episode(many: Shop) -> None:
    envs = VerlAgentEnv(many)
    envs.reset()
    dones = [envs.step(["search[chair]"])[2] for _ in range(4)]
    assert dones == [[False], [False], [False], [True]]


def test_a_shop_with_too_few_goals_is_refused(shop: Shop, many: Shop) -> None:
    with pytest.raises(GoalError, match="there are only 3"):
        VerlAgentEnv(shop)
    with pytest.raises(ValueError, match="this split has 100"):
        VerlAgentEnv(many, env_num=101)


def test_a_wrong_number_of_actions_is_refused_before_anything_happens(many: Shop) -> None:
    envs = VerlAgentEnv(many, env_num=2)
    with pytest.raises(ValueError, match="0 episodes are open, but 2 actions came"):
        envs.step(["search[a]", "search[b]"])
    observations, _ = envs.reset()
    with pytest.raises(ValueError, match="2 episodes are open, but 1 actions came"):
        envs.step(["search[a]"])
    assert envs.step(["", ""])[0] == observations
    envs.close()
    with pytest.raises(ValueError, match="reset"):
        envs.step(["", ""])


class Manager:
    """What verl-agent's WebShop manager does with environments: find the tasks, project answers, keep the infos."""

    def __init__(self, envs: Any) -> None:
        self.envs = envs

    def reset(self) -> tuple[list[str], list[dict[str, Any]]]:
        observations, infos = self.envs.reset()
        parts = [observation.split(" [SEP] ") for observation in observations]
        assert all(part[1] == "Instruction:" for part in parts)
        self.tasks = [part[2] for part in parts]
        return observations, infos

    def step(self, answers: list[str]) -> tuple[list[str], list[float], list[bool], list[dict[str, Any]]]:
        found = [re.search(r"<action>(.*?)</action>", answer, re.DOTALL) for answer in answers]
        actions = [match[1].strip().lower() if match else answer for match, answer in zip(found, answers, strict=True)]
        observations, rewards, dones, infos = self.envs.step(actions)
        for info, match in zip(infos, found, strict=True):
            info["is_action_valid"] = match is not None
        return observations, rewards, dones, infos


def test_its_own_builder_is_replaced_and_its_manager_drives_episodes_to_a_win(tmp_path: Path) -> None:
    Catalogue.generate(400).write_official(tmp_path)
    files = {
        "file_path": str(tmp_path / "items_shuffle.json"),
        "attr_path": str(tmp_path / "items_ins_v2.json"),
        "num_products": None,
        "human_goals": True,
        "observation_mode": "text",
    }
    resources = {"num_cpus": 0.1, "num_gpus": 0}
    envs = build_webshop_envs(1, 4, 2, resources, is_train=True, env_kwargs=files)
    validation = build_webshop_envs(1001, 3, 1, resources, is_train=False, env_kwargs=files)
    assert validation.get_goals() is envs.get_goals()
    assert validation.num_processes == 3
    manager = Manager(envs)
    manager.reset()
    goals = [goal.instruction_text for goal in envs.get_goals()]
    shop = envs._shop
    states = [shop.start(goals.index(task)) for task in manager.tasks]
    scores = [0.0] * 8
    over = [False] * 8
    while not all(over):
        actions = [best_action(shop, state) or "click[back to search]" for state in states]
        _, rewards, dones, infos = manager.step([f"<think>so</think><action>{action}</action>" for action in actions])
        for place, (reward, done, info) in enumerate(zip(rewards, dones, infos, strict=True)):
            if not over[place]:
                states[place], _ = shop.act(states[place], actions[place])
                scores[place] += reward
                assert info["won"] == (reward == 10.0)
                assert info["is_action_valid"]
                over[place] = done
    assert scores == [10.0] * 8
    assert envs.render("text", 0) == envs.render()[0]


def test_settings_that_it_does_not_know_are_named() -> None:
    with pytest.raises(ValueError, match="observation_mode must be 'text'"):
        build_webshop_envs(0, 1, 1, env_kwargs={"observation_mode": "html"})
    with pytest.raises(TypeError, match="num_prev_obs"):
        build_webshop_envs(0, 1, 1, env_kwargs={"num_prev_obs": 3})
