"""The shop as an environment of ROLL: made by GEM, stepped as ROLL's trajectory manager steps it.

uv run --with 'gem-llm>=0.1' pytest packages/webshop-env/tests/adapters/test_roll.py

GEM's classes are its own. ROLL itself is on no registry: what its manager does with an environment is written out here,
after its published interface.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from sightline.webshop_env import render_rich
from sightline.webshop_env.adapters.shops import shared_shop
from sightline.webshop_env.episodes import best_action

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("gem") is None, reason="gem-llm is not installed"),
    pytest.mark.filterwarnings("default"),  # GEM and what it imports warn of their own affairs
]

SETTINGS: dict[str, Any] = {"products": 40, "split": "test", "max_steps": 6, "format_penalty": -0.1}


@pytest.fixture
def env() -> Any:
    import gem  # ty: ignore[import-not-found]

    import sightline.webshop_env.adapters.roll  # noqa: F401  (makes the environment known)

    return gem.make("sightline/webshop", **SETTINGS)


def rollout(env: Any, seed: int, answers: Any) -> list[dict[str, Any]]:
    """One trajectory as ROLL's manager keeps it: an entry for each observation, with what its answer brought."""
    observation, info = env.reset(seed=seed)
    history: list[dict[str, Any]] = [{"observation": observation, **info}]
    terminated = False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(action=answers(history))
        suffix = info.pop("suffix", None)
        history[-1] |= {"reward": reward, "truncated": truncated, **info}
        history.append({"observation": observation, "suffix": suffix})
    return history


def test_the_best_actions_win_and_every_page_is_the_shops(env: Any) -> None:
    shop = shared_shop(products=40, step_limit=6)
    _, info = env.reset(seed=5)
    state = shop.start(info["goal"])

    def answers(history: list[dict[str, Any]]) -> str:
        nonlocal state
        assert history[-1]["suffix"] == render_rich(shop.page(state))
        action = best_action(shop, state)
        assert action is not None
        state, _ = shop.act(state, action)
        return f"<think>so it is</think><answer>{action}</answer>"

    history = rollout(env, 5, answers)
    assert sum(entry.get("reward", 0.0) for entry in history) == 1.0
    assert history[-2]["metrics"] == {
        "action_is_valid": True,
        "action_is_effective": True,
        "format_penalty": 0.0,
        "success": True,
        "raw_reward": 1.0,
    }
    assert history[-2]["metrics_agg_mode"].keys() == history[-2]["metrics"].keys()
    assert not history[-2]["truncated"]
    assert shop.goals.goals[history[0]["goal"]].instruction_text in history[0]["observation"]


def test_episodes_of_a_group_start_alike_and_seeds_differ(env: Any) -> None:
    assert env.reset(seed=3) == env.reset(seed=3)
    assert len({env.reset(seed=seed)[1]["goal"] for seed in range(20)}) > 5


def test_an_answer_without_action_is_penalised_and_the_step_limit_ends_the_episode(env: Any) -> None:
    answers = ["I would rather not", "<answer>click[no]</answer>"]
    history = rollout(env, 1, lambda history: answers[(len(history) - 1) % 2])
    answered = history[:-1]
    assert len(answered) == 6
    assert [entry["reward"] for entry in answered] == [-0.1, 0.0] * 3
    assert [entry["action"] for entry in answered] == [None, "click[no]"] * 3
    assert not any(entry["metrics"]["action_is_valid"] for entry in answered)
    assert [entry["truncated"] for entry in answered] == [False] * 5 + [True]
    assert not any(entry["action_is_valid"] for entry in answered)
    assert "nothing to click" in answered[1]["action_error"]
    assert "no action was found" in history[1]["observation"]
    assert "nothing to click" in history[2]["observation"]


def test_random_actions_and_gems_vector_environment_run(env: Any) -> None:
    import gem  # ty: ignore[import-not-found]

    env.reset(seed=0)
    for _ in range(5):
        *_, terminated, _, info = env.step(env.sample_random_action())
        assert info["metrics"]["action_is_valid"]
        if terminated:
            env.reset(seed=0)
    many = gem.make_vec(["sightline/webshop"] * 3, **SETTINGS)
    observations, _ = many.reset(seed=7)
    assert len(observations) == 3
    _, rewards, *_ = many.step(["<answer>search[lamp]</answer>"] * 3)
    assert list(rewards) == [0.0] * 3
