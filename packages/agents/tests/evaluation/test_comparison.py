from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sightline.agents.evaluation.comparison import Comparison, adjust_together, compare, compare_all
from sightline.agents.evaluation.intervals import wilson_interval
from sightline.agents.evaluation.significance import match_test, mcnemar_test, sign_flip_test
from sightline.agents.trajectory import Step, Trajectory


def episode(
    goal: int, reward: float, tokens: int = 10, *, error: str | None = None, task: str = "a lamp"
) -> Trajectory:
    step = Step(
        observation="page",
        available_actions=("click[a]",),
        action="click[a]",
        reward=reward,
        prompt_tokens=tokens,
        completion_tokens=2,
    )
    return Trajectory(
        episode_id=f"{goal}",
        goal=goal,
        agent="any",
        seed=0,
        instruction=task,
        steps=(step,),
        final_observation="",
        total_reward=reward,
        terminated=error is None,
        truncated=False,
        error=error,
    )


def episodes(rewards: Iterable[float], tokens: int = 10) -> list[list[Trajectory]]:
    """Of an agent with a single training seed."""
    return [[episode(goal, float(reward), tokens + goal % 3) for goal, reward in enumerate(rewards)]]


def coin(rate: float, seed: int, goals: int = 60) -> list[list[Trajectory]]:
    return episodes(np.random.default_rng(seed).random(goals) < rate)


def test_only_shared_goals_are_compared() -> None:
    candidate = [[episode(0, 1.0), episode(1, 1.0), episode(2, 0.0, error="x"), episode(3, 1.0)]]
    baseline = [[episode(3, 0.0), episode(1, 1.0), episode(2, 1.0), episode(0, 0.0)]]
    compared = compare({"gated": candidate, "rag": baseline}, "gated", "rag", seed=0)
    assert (compared.goals, compared.unpaired) == (3, 1)
    assert compared.success_rate is not None
    assert compared.success_rate.value == pytest.approx(2 / 3)


def test_a_comparison_counts_the_goals_that_tell_two_agents_apart() -> None:
    candidate, baseline = [1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0]
    compared = compare({"a": episodes(candidate), "b": episodes(baseline)}, "a", "b", seed=0)
    assert (compared.wins, compared.losses, compared.discordance) == (5, 1, 6 / 8)
    assert compared.p_value == mcnemar_test(5, 1) == stats.binomtest(1, 6).pvalue


def test_differences_are_candidate_minus_baseline() -> None:
    compared = compare({"a": episodes([1, 1, 0.5], 50), "b": episodes([1, 0, 0], 80)}, "a", "b", seed=0)
    assert compared.success_rate is not None
    assert compared.success_rate.value == pytest.approx(1 / 3)
    assert compared.mean_reward is not None
    assert compared.mean_reward.value == pytest.approx(0.5)
    assert compared.prompt_tokens is not None
    assert (compared.prompt_tokens.value, compared.prompt_tokens.low) == pytest.approx((-30, -30))


@pytest.mark.parametrize("goals", [60, 200])
def test_where_no_goal_differs_the_bounds_are_wilsons(goals: int) -> None:
    compared = compare({"a": coin(0.5, 0, goals), "b": coin(0.5, 0, goals)}, "a", "b", seed=0)
    bound = wilson_interval(0, goals).high
    assert compared.success_rate is not None
    assert (compared.success_rate.value, compared.success_rate.low, compared.success_rate.high) == (0, -bound, bound)
    assert compared.success_rate.resampled == "nothing (Wilson's formula)"
    assert compared.p_value == 1


def test_one_shared_goal_has_no_interval() -> None:
    compared = compare({"a": episodes([1]), "b": episodes([0, 1])}, "a", "b", seed=0)
    assert (compared.goals, compared.unpaired, compared.success_rate, compared.match_p_value) == (1, 1, None, 1)


def test_training_seeds_of_a_goal_are_one_pair_in_the_test() -> None:
    once = {"a": coin(0.7, 1), "b": coin(0.5, 2)}
    thrice = {name: 3 * seeds for name, seeds in once.items()}
    repeated = {name: [[*seeds[0], *seeds[0]]] for name, seeds in once.items()}  # one training, two attempts
    assert compare(thrice, "a", "b", seed=0, seeds="fixed").p_value == compare(once, "a", "b", seed=0).p_value
    assert compare(repeated, "a", "b", seed=0) == compare(once, "a", "b", seed=0)


def trainings() -> dict[str, list[list[Trajectory]]]:
    """Three trainings, two of which are no better than the baseline, and one that is by far."""
    return {"a": [*coin(0.5, 1), *coin(0.5, 2), *coin(1.0, 3)], "b": coin(0.45, 4)}


def test_training_seeds_are_resampled_in_intervals_and_in_p_values() -> None:
    resampled, fixed = (compare(trainings(), "a", "b", seed=0, seeds=seeds) for seeds in ("resampled", "fixed"))
    assert resampled.success_rate is not None
    assert fixed.success_rate is not None
    assert resampled.success_rate.value == fixed.success_rate.value > 0.15
    assert resampled.success_rate.low < 0 < fixed.success_rate.low
    assert resampled.success_rate.resampled == "goals and training seeds"
    assert fixed.success_rate.resampled == "goals, training seeds held fixed"
    assert fixed.p_value < 0.01 < resampled.p_value


def test_with_a_training_seed_that_spends_more_tokens_no_match_is_certain() -> None:
    rewards = np.random.default_rng(0).random(200).round()
    cheap, dear = episodes(rewards, 50), episodes(rewards, 600)
    trajectories = {"a": [*cheap, *cheap, *dear], "b": episodes(rewards, 400)}
    resampled, fixed = (compare(trajectories, "a", "b", seed=0, seeds=seeds) for seeds in ("resampled", "fixed"))
    assert fixed.match_p_value < 0.01 < 0.5 < resampled.match_p_value


def test_a_training_seed_that_loses_leaves_a_loss_possible() -> None:
    rewards = np.random.default_rng(0).random(400).round()
    losing = rewards.copy()
    losing[:36] = 0
    trajectories = {
        "a": [*episodes(rewards, 50), *episodes(rewards, 50), *episodes(losing, 50)],
        "b": episodes(rewards, 400),
    }
    resampled, fixed = (compare(trajectories, "a", "b", seed=0, seeds=seeds) for seeds in ("resampled", "fixed"))
    assert fixed.match_p_value < resampled.match_p_value / 3


def test_with_one_training_the_p_values_are_the_exact_tests_alone() -> None:
    trajectories = {"a": coin(0.6, 1), "b": coin(0.5, 2)}
    compared = compare(trajectories, "a", "b", seed=0)
    pairs = zip(trajectories["a"][0], trajectories["b"][0], strict=True)
    success = [Fraction(int(one.success) - int(other.success)) for one, other in pairs]
    assert compared.p_value == sign_flip_test(success)
    assert compared.match_p_value == match_test(success, [Fraction(0)] * 60, margin=0.05) == 1


def test_difference_and_match_of_all_comparisons_are_one_family() -> None:
    trajectories = {"a": coin(0.7, 0, 100), "b": coin(0.5, 1, 100), "c": coin(0.6, 2, 100)}
    trajectories["a"] = episodes([episode.total_reward for episode in trajectories["a"][0]], tokens=5)
    together = compare_all(trajectories, "a", ["b", "c"], seed=0)
    plain = [each.p_value for each in together] + [each.match_p_value for each in together]
    adjusted = [each.adjusted_p_value for each in together] + [each.adjusted_match_p_value for each in together]
    assert adjusted == pytest.approx(multipletests(plain, method="holm")[1])
    assert len(set(plain)) == 4
    assert all(one < other for one, other in zip(plain, adjusted, strict=True) if one < 0.25)
    assert [each.tests for each in together] == [4, 4]
    assert [(each.candidate, each.baseline) for each in together] == [("a", "b"), ("a", "c")]
    assert compare_all(trajectories, "a", [], seed=0) == []


def test_a_comparison_made_alone_has_two_tests() -> None:
    trajectories = {"a": coin(0.8, 1), "b": coin(0.5, 2)}
    compared = compare(trajectories, "a", "b", seed=0)
    assert compared == compare_all(trajectories, "a", ["b"], seed=0)[0]
    assert compared.tests == 2
    assert compared.adjusted_p_value == 2 * compared.p_value
    assert compared.adjusted_match_p_value == max(compared.match_p_value, 2 * compared.p_value)


def test_comparisons_of_several_candidates_can_be_adjusted_together() -> None:
    trajectories = {"a": coin(0.9, 1), "b": coin(0.4, 2), "c": coin(0.5, 3)}
    several = [compare(trajectories, one, "c", seed=0) for one in ("a", "b")]
    plain = [each.p_value for each in several] + [each.match_p_value for each in several]
    adjusted = [each.adjusted_p_value for each in adjust_together(several)]
    assert adjusted == pytest.approx(multipletests(plain, method="holm")[1][:2])


def test_the_seed_is_that_of_the_bootstrap_and_intervals_do_not_depend_on_other_comparisons() -> None:
    trajectories = {name: episodes(np.random.default_rng(seed).random(20)) for seed, name in enumerate("abc")}
    together = compare_all(trajectories, "a", ["b", "c"], seed=0)
    alone = compare(trajectories, "a", "c", seed=0)
    assert together[1].mean_reward == alone.mean_reward != compare(trajectories, "a", "c", seed=1).mean_reward


def test_different_tasks_under_one_number_are_refused() -> None:
    trajectories = {"a": [[episode(0, 1.0)]], "b": [[episode(0, 1.0, task="a desk")]]}
    with pytest.raises(ValueError, match="goal 0 is not one task"):
        compare(trajectories, "a", "b", seed=0)


def test_an_unknown_agent_is_named() -> None:
    with pytest.raises(KeyError, match="no episodes of 'c'; there are some of: a"):
        compare({"a": episodes([1])}, "a", "c", seed=0)


def test_a_comparison_survives_the_disk_and_refuses_what_it_does_not_know() -> None:
    compared = compare(trainings(), "a", "b", seed=0)
    assert Comparison.model_validate_json(compared.model_dump_json()) == compared
    with pytest.raises(ValidationError, match="surprise"):
        Comparison.model_validate(compared.model_dump() | {"surprise": 1})
    with pytest.raises(ValidationError, match="finite"):
        Comparison.model_validate(compared.model_dump() | {"p_value": float("nan")})
    with pytest.raises(ValidationError, match="frozen"):
        compared.goals = 0  # ty: ignore[invalid-assignment] - what the test is about
