from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sightline.webshop_env import Shop, WebShopEnv
from sightline.webshop_env.gym import FEATURES, DiscreteActions, ShapedRewards


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")  # it is a wrapper, and so it says
def test_gymnasiums_checker_is_content(shop: Shop) -> None:
    check_env(DiscreteActions(WebShopEnv(shop=shop, step_limit=9, steps_after_end="allow")), skip_render_check=True)


def test_a_number_is_the_candidate_that_the_info_names(shop: Shop) -> None:
    env, plain = DiscreteActions(WebShopEnv(shop=shop), max_actions=12), WebShopEnv(shop=shop)
    _, info = env.reset(options={"goal": 0})
    plain.reset(options={"goal": 0})
    for wanted in ("search[", "click[b0lamp]", "click[red]", "click[buy now]"):
        (number,) = (place for place, action in enumerate(info["candidates"]) if action.startswith(wanted))
        text = info["candidates"][number]
        _, reward, terminated, _, info = env.step(number)
        assert (reward, terminated) == plain.step(text)[1:3]
        assert info["action_is_valid"]
        assert info["action_mask"].tolist() == env.action_masks().tolist()
    assert terminated
    assert not env.action_masks().any()


def test_masked_random_play_is_never_invalid_and_an_illegal_number_changes_nothing(shop: Shop) -> None:
    rng = np.random.default_rng(3)
    env = DiscreteActions(WebShopEnv(shop=shop, step_limit=20))
    for goal in range(3):
        _, info = env.reset(options={"goal": goal})
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
            assert info["action_is_valid"]
            assert env.observation_space.contains(observation)
            ended = terminated or truncated
    env.reset(options={"goal": 0})
    *_, info = env.step(63)
    assert not info["action_is_valid"]


def test_buying_is_among_the_candidates_however_few_there_may_be(shop: Shop) -> None:
    env = DiscreteActions(WebShopEnv(shop=shop), max_actions=8)
    _, info = env.reset(options={"goal": 1})
    for wanted in ("search[", "click[b0mug]"):
        number = next(place for place, action in enumerate(info["candidates"]) if action.startswith(wanted))
        *_, info = env.step(number)
    assert "click[buy now]" in info["candidates"]
    assert len(info["candidates"]) == 8


def test_features_say_what_an_action_is_and_how_it_fits_the_instruction(shop: Shop) -> None:
    env = DiscreteActions(WebShopEnv(shop=shop))
    env.reset(options={"goal": 0})
    observation, *_, info = env.step(0)
    lamp = info["candidates"].index("click[b0lamp]")
    row = dict(zip(FEATURES, observation[lamp].tolist(), strict=True))
    assert (row["offered"], row["product"], row["search"], row["chosen"]) == (1, 1, 0, 0)
    assert row["mentioned"] > 0
    assert not observation[len(info["candidates"]) :].any()
    observation, *_, info = env.step(lamp)
    red = info["candidates"].index("click[red]")
    before = observation[red, FEATURES.index("chosen")]
    observation, *_, info = env.step(red)
    assert (before, observation[info["candidates"].index("click[red]"), FEATURES.index("chosen")]) == (0, 1)


def test_too_few_numbers_are_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="max_actions must be at least 8, not 7"):
        DiscreteActions(WebShopEnv(shop=shop), max_actions=7)


def test_numbered_actions_earn_shaped_rewards_where_the_environment_shapes_them(shop: Shop) -> None:
    plain = WebShopEnv(shop=shop)
    shaped = ShapedRewards(plain)
    env = DiscreteActions(shaped)
    _, info = env.reset(options={"goal": 0})
    first, earned, paid = shaped.potential(plain.state), 0.0, []
    for wanted in ("search[", "click[b0lamp]", "click[red]", "click[buy now]"):
        number = next(place for place, action in enumerate(info["candidates"]) if action.startswith(wanted))
        _, reward, _, _, info = env.step(number)
        earned += info["unshaped_reward"]
        paid.append(reward)
    assert first > 0
    assert sum(paid) == pytest.approx(earned - first)


def test_only_a_shops_actions_are_numbered() -> None:
    with pytest.raises(TypeError, match="only actions of a WebShopEnv can be numbered"):
        DiscreteActions(gymnasium.make("CartPole-v1"))
