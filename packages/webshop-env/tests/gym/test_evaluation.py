from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import GoalError, Shop, WebShopEnv, evaluate, expert_action
from sightline.webshop_env.gym import Evaluation, wilson_interval


def test_results_are_those_of_the_episodes(shop: Shop) -> None:
    env = WebShopEnv(shop=shop, step_limit=6)
    actions = ["look", "search[lamp]", "click[b0lamp]", "click[red]", "click[buy now]"]
    found = evaluate(env, lambda _, __: actions[env.state.steps], [0, 1])
    lamp, mug = found.episodes
    assert (lamp.goal, lamp.steps, lamp.invalid_actions, lamp.purchased) == (0, 5, 1, True)
    assert lamp.reward == pytest.approx(lamp.parts["r_type"] * 3 / 4) if lamp.parts else False
    assert (mug.goal, mug.purchased) == (1, True)
    assert found.score == pytest.approx((lamp.reward + mug.reward) / 2)
    assert found.score_error == pytest.approx(abs(lamp.reward - mug.reward) / math.sqrt(2) / math.sqrt(2))
    assert found.invalid_share == 2 / 10
    assert found.success == wilson_interval(0, 2)
    assert found.parts["r_price"] == ((lamp.parts or {})["r_price"] + (mug.parts or {})["r_price"]) / 2
    assert "2 episodes: success 0.0%" in str(found)


def test_an_expert_succeeds_and_a_shopper_that_never_buys_does_not(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    expert = evaluate(env, lambda _, __: expert_action(shop, env.state), range(3))
    assert expert.success.value == 1.0
    assert all(episode.success and episode.invalid_actions == 0 for episode in expert.episodes)
    lost = evaluate(env, lambda _, __: "search[lamp]", [2], max_steps=4)
    assert lost.episodes[0] == type(lost.episodes[0])(2, 0.0, False, 4, 0, None)
    assert math.isnan(lost.score_error)


def test_a_limit_of_the_environment_ends_an_episode_before_that_of_the_evaluation(shop: Shop) -> None:
    found = evaluate(WebShopEnv(shop=shop, step_limit=3), lambda _, __: "search[mug]", [0], max_steps=9)
    assert found.episodes[0].steps == 3


def test_nonsense_is_refused(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    with pytest.raises(ValueError, match="no goals"):
        evaluate(env, lambda _, __: "", [])
    with pytest.raises(ValueError, match="max_steps must be at least 1, not 0"):
        evaluate(env, lambda _, __: "", [0], max_steps=0)
    with pytest.raises(GoalError, match="goals are numbered 0 to 2"):
        evaluate(env, lambda _, __: "", [3])


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.99))
def test_an_interval_holds_just_the_shares_under_which_the_count_is_no_surprise(
    case: tuple[int, int], confidence: float
) -> None:
    # The score test of each end, solved for it, is the definition of the interval.
    successes, trials = case
    share, low, high = wilson_interval(successes, trials, confidence=confidence)
    assert 0 <= low <= share <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        z = (share - end) / math.sqrt(end * (1 - end) / trials)
        assert math.erf(abs(z) / math.sqrt(2)) == pytest.approx(confidence, abs=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (0, 0), (-1, 3), (4, 3)])
def test_counts_that_make_no_share_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, trials)


def test_an_evaluation_is_a_plain_record() -> None:
    assert Evaluation(()) == Evaluation(())
