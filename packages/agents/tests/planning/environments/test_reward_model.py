from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.grammar import Purchase, webshop_grammar
from sightline.agents.planning import (
    AgentPolicy,
    EnvironmentWorld,
    Experience,
    OracleReward,
    RewardModel,
    RewardModelConfig,
    gather,
    learn_rewards,
    within_goal_correlation,
)
from sightline.agents.planning.environments.boosting import fit_trees
from sightline.agents.planning.environments.features import FEATURES, features, read_request
from sightline.retrieval.jsonl import RecordError

SMALL = RewardModelConfig(members=3, trees=30, depth=3)
REQUEST = "Find me machine wash, eco friendly throw pillows with color: black, and price lower than 40.00 dollars"


def purchase(**changes: Any) -> Purchase:
    fields: dict[str, Any] = {
        "instruction": REQUEST, "title": "Eco Friendly Throw Pillows", "details": "Can go into the machine for a wash.",
        "prices": (10.0, 12.0), "offered": (("black", "red"),), "chosen": frozenset({"black"}),
    }  # fmt: skip
    return Purchase(**fields | changes)


def row(**changes: Any) -> dict[str, float]:
    return dict(zip(FEATURES, features([purchase(**changes)])[0].tolist(), strict=True))


def test_a_request_is_taken_apart() -> None:
    request = read_request(REQUEST)
    assert request.limit == 40.0
    assert request.head == {"eco", "friendly", "throw", "pillows"}
    assert {"machine", "wash"} in request.phrases
    assert {"black"} in request.phrases
    assert read_request("a $2,000 sofa under 2,500 dollars").limit == 2500.0
    assert read_request("sofa").limit is None


def test_features_of_a_purchase_worked_by_hand() -> None:
    found = row()
    assert found["phrases"] == 3  # machine wash; eco friendly throw pillows; black
    assert found["phrases_met"] == 1.0
    assert found["phrases_in_text"] == pytest.approx(2 / 3)
    assert found["within_limit"] == 1
    assert found["chosen_mentioned"] == 1
    assert found["groups_missed"] == 0
    assert found["head_in_title"] == 1
    worse = row(details="", prices=(39.0, 41.0), chosen=frozenset({"red"}))
    assert worse["phrases_met"] == pytest.approx(1 / 3)
    assert worse["within_limit"] == 0
    assert worse["price_high"] == pytest.approx(np.log(41 / 40))
    assert (worse["chosen_unmentioned"], worse["groups_missed"]) == (1, 1)
    assert row(prices=(np.nan, np.nan))["within_limit"] == 1


@given(st.text(max_size=80), st.text(max_size=80), st.frozensets(st.text(max_size=10), max_size=3))
def test_features_of_any_text_are_finite(instruction: str, title: str, chosen: frozenset[str]) -> None:
    rows = features([purchase(instruction=instruction, title=title, chosen=chosen)])
    assert np.isfinite(rows).all()
    assert rows.shape == (1, len(FEATURES))


def test_the_estimate_is_the_mean_of_what_each_member_says_and_their_deviation() -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.uniform(-1, 1, (200, len(FEATURES))), np.ones(200)
    members = [fit_trees(rows, rng.uniform(0, 1, 200), weights, trees=5, depth=2) for _ in range(3)]
    purchases = [purchase(), purchase(chosen=frozenset({"red"})), purchase(title="A lamp")]
    mean, deviation = RewardModel(SMALL, members).estimate(purchases)
    said = np.stack([member.predict(features(purchases)) for member in members])
    np.testing.assert_allclose(mean, said.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, said.std(axis=0), atol=1e-12)
    assert deviation.min() > 0


def test_trees_follow_a_function_and_stay_within_its_range() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (3000, 4))
    target = np.where(rows[:, 1] > 0.2, 1.0, 0.0) + 0.5 * rows[:, 0] * (rows[:, 2] > 0)
    trees = fit_trees(rows[:2000], target[:2000], np.ones(2000), trees=150, depth=4)
    predicted = trees.predict(rows[2000:])
    assert np.corrcoef(predicted, target[2000:])[0, 1] > 0.98
    assert predicted.min() > -0.7
    assert predicted.max() < 1.7


def test_one_split_is_the_best_by_trying_all() -> None:
    rng = np.random.default_rng(1)
    rows, target = rng.integers(0, 6, (200, 3)).astype(float), rng.normal(size=200)
    target += rows[:, 2] > 3
    trees = fit_trees(rows, target, np.ones(200), trees=1, depth=1)
    centred = target - target.mean()

    def gain(column: int, border: float) -> float:
        left = rows[:, column] <= border
        if min(left.sum(), (~left).sum()) < 20:
            return -np.inf
        return sum(centred[side].sum() ** 2 / (side.sum() + 1) for side in (left, ~left))

    best = max(((c, b) for c in range(3) for b in range(5)), key=lambda split: gain(*split))
    assert (trees.feature[0, 0], trees.threshold[0, 0]) == best
    left = rows[:, best[0]] <= best[1]
    expected = 0.1 * centred[left].sum() / (left.sum() + 1)
    assert trees.predict(rows[left])[0] == pytest.approx(target.mean() + expected)


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_a_weight_of_two_is_a_row_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, target = rng.integers(0, 9, (120, 3)).astype(float), rng.normal(size=120)
    weights = rng.integers(0, 3, 120)
    one = fit_trees(rows, target, weights.astype(float), trees=5, depth=2)
    again = np.repeat(np.arange(120), weights)
    borders_kept = np.concatenate([again, np.flatnonzero(weights == 0)])
    many = fit_trees(
        rows[borders_kept], target[borders_kept], np.repeat([1.0, 0.0], [len(again), (weights == 0).sum()]),
        trees=5, depth=2,
    )  # fmt: skip
    np.testing.assert_allclose(one.predict(rows), many.predict(rows), atol=1e-9)


def experience(goals: int, seed: int) -> Experience:
    """Purchases of made-up goals, whose reward is 1 for the asked colour and the asked wash, .5 for either."""
    rng = np.random.default_rng(seed)
    colours, washes = ["black", "red", "blue", "green"], ["machine wash", "hand wash", "spot clean"]
    found = Experience()
    for goal in range(goals):
        colour, wash = rng.choice(colours), rng.choice(washes)
        for _ in range(6):
            own, chosen = rng.choice(washes), rng.choice(colours)
            instruction = f"Find me pillows with {wash} with color: {colour}"
            bought = purchase(
                instruction=instruction, title="Pillows", details=f"For {own}.", offered=(tuple(colours),),
                chosen=frozenset({str(chosen)}),
            )  # fmt: skip
            found.purchases.append(bought)
            found.rewards.append(0.5 * (own == wash) + 0.5 * (chosen == colour))
            found.goals.append(goal)
    return found


def test_a_model_learns_what_goals_have_in_common_and_rates_purchases_of_new_ones() -> None:
    train, test = experience(150, 0), experience(60, 1)
    model = RewardModel.fit(train.purchases, train.rewards, train.goals, config=SMALL)
    assert within_goal_correlation(model, test) > 0.95
    mean, deviation = model.estimate(test.purchases)
    np.testing.assert_allclose(model.judge(test.purchases), np.clip(mean - deviation, 0, 1.2))
    np.testing.assert_allclose(model.with_pessimism(0).judge(test.purchases), np.clip(mean, 0, 1.2))
    assert (model.with_pessimism(3).judge(test.purchases) <= model.judge(test.purchases) + 1e-12).all()
    perfect = model.score(
        "Find me pillows with hand wash with color: red", "Pillows", ["red"], (9, 9), "For hand wash."
    )
    assert perfect > 0.75
    assert (model.judge(test.purchases) < model.bounds[1]).all()  # ty: ignore[not-subscriptable]


def test_a_model_survives_its_folder(tmp_path: Path) -> None:
    train = experience(30, 0)
    model = RewardModel.fit(train.purchases, train.rewards, train.goals, config=SMALL)
    model.save_pretrained(tmp_path)
    again = RewardModel.from_pretrained(tmp_path)
    assert again.judge(train.purchases).tolist() == model.judge(train.purchases).tolist()
    assert again.config == model.config
    (tmp_path / "config.json").write_text(SMALL.model_copy(update={"features": ("other",)}).model_dump_json())
    with pytest.raises(ValueError, match="other features"):
        RewardModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"members": 0}')
    with pytest.raises(RecordError, match="members"):
        RewardModel.from_pretrained(tmp_path)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    one = experience(1, 0)
    with pytest.raises(ValueError, match="at least two goals"):
        RewardModel.fit(one.purchases, one.rewards, one.goals)
    with pytest.raises(ValueError, match="as many rewards"):
        RewardModel.fit(one.purchases, one.rewards[:-1], one.goals)


def test_goals_count_alike_however_many_purchases_they_have() -> None:
    """One goal with a thousand contrary purchases must not outweigh forty goals."""
    train = experience(40, 0)
    noisy = purchase(
        instruction="Find me pillows with hand wash with color: red", title="Pillows", details="For hand wash."
    )
    for _ in range(1000):
        train.purchases.append(noisy)
        train.rewards.append(0.0)
        train.goals.append(999)
    model = RewardModel.fit(train.purchases, train.rewards, train.goals, config=SMALL)
    assert within_goal_correlation(model, experience(40, 1)) > 0.8


def test_purchases_are_gathered_with_true_rewards_and_once_each(shop_type: Any, hasty: Any) -> None:
    def open_goal(goal: int) -> tuple[Any, Any]:
        asin = ["B000000001", "B000000002"][goal % 2]
        world = EnvironmentWorld(shop_type({"asin": asin, "color": "red"}), webshop_grammar)
        return world, world.root()

    found = gather(open_goal, [0, 1], AgentPolicy(hasty), OracleReward(bounds=None), simulations=60)
    assert len(found) == len(set(zip(found.goals, found.purchases, strict=True)))
    for bought, reward, goal in zip(found.purchases, found.rewards, found.goals, strict=True):
        right = bought.title == ["Red desk lamp", "Desk lamp, classic"][goal]
        assert reward == 0.5 * right + 0.5 * (right and "red" in bought.chosen)
    assert 1.0 in found.rewards
    size = len(found)
    found.add(found)
    assert len(found) == size
    model, experience_ = learn_rewards(open_goal, range(6), AgentPolicy(hasty), simulations=30, rounds=1, config=SMALL)
    assert set(experience_.goals) == set(range(6))
    assert model.config == SMALL
