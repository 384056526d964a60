from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.goals.goals import (
    GoalKind,
    GoalSet,
    build_goals,
    draw_goal,
    filter_goals,
    limit_goals,
    split_indices,
)
from sightline.webshop_env.goals.lists import HeldGoals
from sightline.webshop_env.product import Goal, HumanInstruction, Product, SyntheticInstruction, price_tag

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden"
RECORDINGS = [("webshop", "human"), ("webshop", "synthetic"), ("webshop-real", "synthetic")]


def product(number: int = 0, **changes: Any) -> Product:
    plain: dict[str, Any] = {
        "asin": f"B{number:09}",
        "title": f"Mug {number}",
        "description": "",
        "bullets": (),
        "pricing": (5.0,),
        "category": "garden",
        "query": "mugs",
        "product_category": "Home",
    }
    plain |= changes
    return Product(price_tag=price_tag(plain["pricing"]), **plain)


def asked(text: str = "i need a mug", attributes: tuple[str, ...] = ("blue",), **changes: Any) -> Product:
    return product(human=(HumanInstruction(text, attributes),), **changes)


def weighted(*weights: float) -> GoalSet:
    goals = (Goal("B0", "", "", f"{i}", "", "", ("a",), 10.0, (), weight) for i, weight in enumerate(weights))
    return GoalSet(HeldGoals(goals), {"B0": 5.0}, "human", 0)


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recordings are not beside this repository")
@pytest.mark.parametrize(("folder", "kind"), RECORDINGS)
def test_prices_and_goals_are_those_of_the_original(folder: str, kind: GoalKind) -> None:
    files = GOLDEN / folder
    catalogue = Catalogue.from_official(
        files / "items_shuffle.json", files / "items_ins_v2.json", files / "items_human_ins.json"
    )
    trace = files / f"traces_{'human' if kind == 'human' else 'synth'}.jsonl"
    recorded: dict[str, dict[str, Any]] = {}
    with trace.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            recorded.setdefault(entry["kind"], entry)
    built = build_goals(catalogue, kind, seed=recorded["meta"]["seed"])

    assert built.prices == recorded["prices"]["prices"]
    assert len(built) == len(recorded["goals"]["goals"])
    for goal, expected in zip(built.goals, recorded["goals"]["goals"], strict=True):
        assert goal.weight == pytest.approx(expected.pop("weight"), abs=1e-12)
        options = expected.pop("goal_options")
        assert goal.goal_options == (options if isinstance(options, dict) else tuple(options))
        assert goal.attributes == tuple(expected.pop("attributes"))
        assert {name: getattr(goal, name) for name in expected} == expected


def test_a_price_in_force_is_drawn_only_from_a_range() -> None:
    catalogue = Catalogue([product(0), product(1, pricing=(10.0, 20.0)), product(2, pricing=())])
    prices = build_goals(Catalogue([*catalogue, asked(number=9)]), "human", 1).prices
    assert [prices[product.asin] for product in catalogue] == [5.0, 10.0 + 10.0 * random.Random(1).random(), 100.0]


@pytest.mark.parametrize(
    ("price", "caps"),
    [
        (0.0, {20.0, 30.0, 40.0}),
        (10.0, {30.0, 40.0, 50.0}),
        (19.99, {30.0, 40.0, 50.0}),
        (960.0, {980.0, 990.0}),
        (979.99, {990.0}),
    ],
)
def test_the_cap_is_the_larger_of_two_of_the_next_four_steps_of_ten(price: float, caps: set[float]) -> None:
    catalogue = Catalogue([asked(pricing=(price,))])
    goals = [build_goals(catalogue, "human", seed).goals[0] for seed in range(100)]
    assert {goal.price_upper for goal in goals} == caps
    for goal in goals:
        assert goal.instruction_text == f"i need a mug, and price lower than {goal.price_upper:.2f} dollars"


@pytest.mark.parametrize("price", [980.0, 5000.0])
def test_a_price_with_fewer_than_two_steps_above_has_no_cap(price: float) -> None:
    goal = build_goals(Catalogue([asked(pricing=(price,))]), "human", 0).goals[0]
    assert goal.price_upper == 1_000_000
    assert goal.instruction_text == "i need a mug"


def test_outer_dots_of_a_human_instruction_are_dropped() -> None:
    goal = build_goals(Catalogue([asked("..i need no. 5..", pricing=(999.0,))]), "human", 0).goals[0]
    assert goal.instruction_text == "i need no. 5"


def test_a_human_instruction_without_attributes_leaves_no_trace() -> None:
    entries = tuple(HumanInstruction(text, ("x",)) for text in "abcdefgh")
    silent = (entries[0], HumanInstruction("skipped", ()), *entries[1:])
    with_it, without = (build_goals(Catalogue([product(human=human)]), "human", 3) for human in (silent, entries))
    assert with_it.goals == without.goals


def test_a_synthetic_goal_is_made_for_each_combination_of_options() -> None:
    catalogue = Catalogue(
        [
            product(
                0,
                options={"size": ("s", "m"), "color": ("red", "blue", "grey")},
                synthetic=SyntheticInstruction("Find me mugs", ("blue", "soft")),
            ),
            product(1, synthetic=SyntheticInstruction("Find me soft mugs", ("soft",))),
            product(2, options={"size": ()}, synthetic=SyntheticInstruction("Find me none", ("blue",))),
            product(3, synthetic=SyntheticInstruction("Find me anything", ())),
        ]
    )
    goals = build_goals(catalogue, "synthetic", 0).goals
    assert Counter(goal.asin for goal in goals) == {"B000000000": 6, "B000000001": 1}
    chosen = [goal.goal_options for goal in goals if goal.asin == "B000000000"]
    for combination in ({"color": color, "size": size} for color in ("red", "blue", "grey") for size in ("s", "m")):
        assert combination in chosen
    first = next(goal for goal in goals if goal.goal_options == {"color": "red", "size": "m"})
    assert first.instruction_text.startswith("Find me mugs with color: red, and size: m, and price lower than ")
    assert len({goal.price_upper for goal in goals if goal.asin == "B000000000"}) == 1
    # Six goals ask for "blue" and seven for "soft".
    assert first.weight == pytest.approx((1 / 6 + 1 / 7) / 2)
    plain = next(goal for goal in goals if goal.asin == "B000000001")
    assert plain.instruction_text.startswith("Find me soft mugs, and price")
    assert plain.weight == pytest.approx(1 / 7)


def test_weights_are_summed_alike_by_every_python() -> None:
    attributes = tuple(f"a{i}" for i in range(10))
    options = {"size": tuple(f"s{i}" for i in range(10))}
    catalogue = Catalogue([product(options=options, synthetic=SyntheticInstruction("Find me mugs", attributes))])
    # Adding ten times 0.1 without care gives 0.9999999999999999.
    assert {goal.weight for goal in build_goals(catalogue, "synthetic", 0).goals} == {0.1}


def test_a_product_with_an_empty_option_group_gives_no_goal_but_draws_its_cap() -> None:
    instruction = SyntheticInstruction("Find me mugs", ("rare",))
    empty = product(0, options={"size": ()}, synthetic=instruction)
    full = [product(i, synthetic=SyntheticInstruction("Find me mugs", ("blue",))) for i in range(1, 9)]
    with_it = build_goals(Catalogue([empty, *full]), "synthetic", 0).goals
    without = build_goals(Catalogue(full), "synthetic", 0).goals
    assert [goal.asin for goal in with_it] == [goal.asin for goal in without]
    assert [goal.price_upper for goal in with_it] != [goal.price_upper for goal in without]


def test_the_same_seed_gives_the_same_goals_and_another_seed_other_prices() -> None:
    catalogue = Catalogue.generate(60, seed=1)
    for kind in get_args(GoalKind):
        assert build_goals(catalogue, kind, 5) == build_goals(catalogue, kind, 5)
        assert build_goals(catalogue, kind, 5).prices != build_goals(catalogue, kind, 6).prices
    orders = [[goal.asin for goal in build_goals(catalogue, "human", seed).goals] for seed in (5, 6)]
    assert orders[0] == orders[1]


def test_goals_are_in_the_order_of_the_original() -> None:
    catalogue = Catalogue([product(number, synthetic=SyntheticInstruction("Find me", ("a",))) for number in range(20)])
    order = list(range(20))
    random.Random(233).shuffle(order)
    goals = build_goals(catalogue, "synthetic", 0).goals
    assert [int(goal.asin[1:]) for goal in goals] == order


def test_building_goals_leaves_the_global_generator_alone() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    build_goals(Catalogue([asked()]), "human", 0)
    assert random.random() == expected


def test_a_catalogue_without_instructions_has_no_goals() -> None:
    with pytest.raises(GoalError, match="none of the 1 products has a human instruction"):
        build_goals(Catalogue([product()]), "human", 0)


def test_an_unknown_kind_of_goal_is_refused() -> None:
    with pytest.raises(GoalError, match="no goals of kind 'robot'; kinds are 'human', 'synthetic'"):
        build_goals(Catalogue([asked()]), "robot", 0)  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("test", 12087, range(500)),
        ("dev", 12087, range(500, 1500)),
        ("train", 12087, range(1500, 12087)),
        ("test", 155, range(155)),
        ("dev", 501, range(500, 501)),
        ("train", 1501, range(1500, 1501)),
    ],
)
def test_splits_are_those_of_the_literature(name: str, count: int, expected: range) -> None:
    assert split_indices(name, count) == expected


@settings(deadline=None)
@given(st.integers(1501, 20_000))
def test_splits_cover_every_goal_once(count: int) -> None:
    assert [i for name in ("test", "dev", "train") for i in split_indices(name, count)] == list(range(count))


@pytest.mark.parametrize(("name", "count"), [("test", 0), ("dev", 500), ("train", 1500)])
def test_an_empty_split_is_refused(name: str, count: int) -> None:
    with pytest.raises(GoalError, match=f"split '{name}' is empty"):
        split_indices(name, count)


def test_an_unknown_split_is_refused_with_the_names_of_splits() -> None:
    with pytest.raises(
        GoalError, match="no split 'validation'; splits are 'test', 'dev', 'train', 'eval', 'train_and_dev'"
    ):
        split_indices("validation", 10)


def test_each_goal_is_drawn_with_its_own_weight() -> None:
    goals, rng = weighted(1, 0.5, 2, 0.5), random.Random(0)
    drawn = Counter(draw_goal(goals, rng) for _ in range(20_000))
    assert [drawn[i] / 20_000 for i in range(4)] == pytest.approx([0.25, 0.125, 0.5, 0.125], abs=0.015)


@pytest.mark.parametrize("weights", [(1.0,) * 40, tuple(1 / number for number in range(1, 41))])
@pytest.mark.parametrize("within", [range(40), range(10), range(10, 25), range(39, 40)])
def test_a_draw_within_a_range_is_that_from_the_goals_of_the_range(weights: tuple[float, ...], within: range) -> None:
    goals = weighted(*weights)
    alone = weights[within.start : within.stop]
    for seed in range(300):
        expected = random.Random(seed).choices(within, weights=alone)[0]
        assert draw_goal(goals, random.Random(seed), within) == expected


@pytest.mark.parametrize("within", [range(0), range(3, 3), range(2, 5), range(-1, 2)])
def test_nothing_is_drawn_from_a_range_without_goals(within: range) -> None:
    with pytest.raises(GoalError, match="to draw from: there are 4"):
        draw_goal(weighted(1, 2, 3, 4), random.Random(0), within)


def test_too_many_combinations_of_options_are_refused() -> None:
    options = {f"group {number}": tuple(map(str, range(200))) for number in range(5)}
    catalogue = Catalogue([product(options=options, synthetic=SyntheticInstruction("Find me mugs", ("blue",)))])
    with pytest.raises(GoalError, match="combine to 320,000,000,000 goals"):
        build_goals(catalogue, "synthetic", 0)


def test_a_filter_keeps_order_and_everything_else() -> None:
    goals = weighted(1, 2, 3, 4)
    kept = filter_goals(goals, lambda index, goal: index > 0 and goal.weight != 3)
    assert kept.goals == (goals.goals[1], goals.goals[3])
    assert (kept.prices, kept.kind, kept.seed) == (goals.prices, goals.kind, goals.seed)
    assert kept.cumulative_weights == (2, 6)


def test_a_limit_keeps_distinct_goals_in_order_and_is_seeded() -> None:
    goals = weighted(*range(1, 21))
    kept = limit_goals(goals, 8, random.Random(4))
    assert len(kept) == 8
    assert list(kept.goals) == [goal for goal in goals.goals if goal in kept.goals]
    assert kept == limit_goals(goals, 8, random.Random(4))
    assert limit_goals(goals, 20, random.Random(4)) is goals
    with pytest.raises(GoalError, match="at least one goal, not 0"):
        limit_goals(goals, 0, random.Random(4))


def test_a_limit_draws_by_weight_among_the_goals_left() -> None:
    weights, rng, trials = (1.0, 2.0, 5.0), random.Random(0), 20_000
    pairs = Counter(tuple(goal.name for goal in limit_goals(weighted(*weights), 2, rng).goals) for _ in range(trials))
    # P(i first, then j) = w_i / 8 * w_j / (8 - w_i), summed over both orders.
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = sum(weights[a] / 8 * weights[b] / (8 - weights[a]) for a, b in ((i, j), (j, i)))
        assert pairs[str(i), str(j)] / trials == pytest.approx(expected, abs=0.015)
