from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.product import Goal, Product
from sightline.webshop_env.rules.reward import COLOURS, score_purchase

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden"

LAMP = Product(
    asin="B000000001",
    title="Brass Desk Lamp",
    description="A dimmable reading light",
    bullets=("easy clean", "long cord"),
    pricing=(20.0,),
    price_tag="$20.0",
    category="garden",
    query="desk lamps",
    product_category="Home › Lighting › Lamps",
    attributes=("energy efficient", "eco friendly"),
)
WANTED_LAMP = Goal(
    asin=LAMP.asin,
    category=LAMP.category,
    query=LAMP.query,
    name=LAMP.title,
    product_category=LAMP.product_category,
    instruction_text="find me a lamp",
    attributes=("eco friendly",),
    price_upper=30.0,
    goal_options=(),
)


def recorded_goal(fields: Mapping[str, Any]) -> Goal:
    options = fields["goal_options"]
    values: dict[str, Any] = {
        **fields,
        "attributes": tuple(fields["attributes"]),
        "goal_options": options if isinstance(options, dict) else tuple(options),
    }
    return Goal(**values)


@pytest.fixture(params=["webshop/traces_human", "webshop/traces_synth", "webshop-real/traces_synth"])
def recording(request: pytest.FixtureRequest) -> tuple[dict[str, Product], list[dict[str, Any]]]:
    """The recorded catalogue by asin, and every recorded purchase: single ones and those that ended an episode."""
    traces = GOLDEN / f"{request.param}.jsonl"
    if not traces.exists():
        pytest.skip(f"the recordings of the original shop are not at {GOLDEN}")
    folder = traces.parent
    products = Catalogue.from_official(products=folder / "items_shuffle.json", attributes=folder / "items_ins_v2.json")
    with traces.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    [prices] = [record["prices"] for record in records if record["kind"] == "prices"]
    [goals] = [record["goals"] for record in records if record["kind"] == "goals"]
    purchases = [record for record in records if record["kind"] == "reward"]
    for record in records:
        if record["kind"] == "episode" and record["final"]["reward"] is not None:
            final = record["final"]
            purchases.append({**final, "goal": goals[record["goal_index"]], "price": prices[final["asin"]]})
    assert len(purchases) > 400
    return {product.asin: product for product in products}, purchases


def test_every_recorded_reward_is_reproduced_with_its_parts(
    recording: tuple[dict[str, Product], list[dict[str, Any]]],
) -> None:
    products, purchases = recording
    for purchase in purchases:
        goal = recorded_goal(purchase["goal"])
        reward = score_purchase(products[purchase["asin"]], goal, price=purchase["price"], options=purchase["options"])
        assert reward.total == pytest.approx(purchase["reward"], abs=1e-9)
        assert reward.as_info() == pytest.approx(purchase["info"], abs=1e-9)


def test_the_wanted_product_within_its_price_scores_one() -> None:
    assert score_purchase(LAMP, WANTED_LAMP, price=30.0, options={}).total == 1.0


def test_a_price_over_the_limit_costs_its_share() -> None:
    assert score_purchase(LAMP, WANTED_LAMP, price=30.01, options={}).total == 0.5


@pytest.mark.parametrize(
    ("attribute", "met"),
    [
        ("friendly eco", True),  # order does not matter
        ("eco-friendly!", True),
        ("éécoéé friéééééendly", True),  # letters of Latin-1 beyond ASCII are dropped
        ("desk lamp", True),  # in the title
        ("clean long", True),  # across two bullets
        ("dimmable", True),  # in the description
        ("Dimmable", False),  # texts are lowered, the attribute is not
        ("lamp a dim", False),  # not across title and description
        ("waterproof", False),
        ("★", False),
    ],
)
def test_an_attribute_is_met_by_a_similar_one_or_by_the_texts(attribute: str, met: bool) -> None:
    reward = score_purchase(LAMP, replace(WANTED_LAMP, attributes=(attribute,)), price=20.0, options={})
    assert reward.r_att == float(met)


@pytest.mark.parametrize(
    ("wanted", "chosen", "met"),
    [
        ("red", "wine red", True),
        ("standard", "tan", True),
        ("blue stripes", "navy blue", True),
        ("washed", "ash", True),
        ("red", "Red", True),  # similar as text: only the colour search minds the case
        ("Wine Red", "red", True),
        ("x-large", "x large", True),
        ("x-large", "small", False),
        ("★", "★", False),  # nothing is left to compare
        ("abcdefghijklmnopqrst", "abcdefghijklmnopqxyz", False),  # 17 letters of 20 in common: 85 is not over 85
        ("abcdefghijklmnopqrst", "abcdefghijklmnopqrsz", True),  # 19 of 20: 95
    ],
)
def test_an_option_is_met_by_its_colour_or_by_a_similar_value(wanted: str, chosen: str, met: bool) -> None:
    goal = replace(WANTED_LAMP, goal_options=(wanted,))
    assert score_purchase(LAMP, goal, price=20.0, options={"style": chosen}).r_option == float(met)


@pytest.mark.parametrize(
    ("wanted", "chosen", "met"),
    [
        ({"color": "red"}, "red", True),  # the value of the pair is a colour
        ({"color": "wine red"}, "red", True),  # "color wine red" holds the whole of "red"
        ({"color": "wine red"}, "wine red", True),
        ({"size": "large"}, "large", True),
        ({"size": "large"}, "medium", False),
    ],
)
def test_a_synthetic_option_is_compared_together_with_its_name(wanted: dict[str, str], chosen: str, met: bool) -> None:
    goal = replace(WANTED_LAMP, goal_options=wanted)
    assert score_purchase(LAMP, goal, price=20.0, options={"any group": chosen}).r_option == float(met)


@pytest.mark.parametrize(
    ("goal_title", "query", "path", "r_type", "title_score"),
    [
        ("Steel Fork", "desk lamps", LAMP.product_category, 0.0, 0.0),  # no common noun: nothing else counts
        ("Lamp " + "word " * 19, "desk lamps", "", 0.1, 0.05),
        ("Lamp b c d e", "forks", "", 0.5, 0.2),
        ("Lamp b c d e", "forks", "Lighting › Shop › Home", 1.0, 0.2),
        ("Lamp b c d e", "forks", "Lighting › Shop", 0.5, 0.2),
        ("Lamp b c d e", "desk lamps", "", 1.0, 0.2),
        ("Lamp Lamp Lamp b", "forks", "", 1.0, 0.25),  # repeats count in the goal's title only
        ("123", "forks", "", 0.5, 0.2),  # no noun at all
    ],
)
def test_the_kind_of_product_scales_the_reward(
    goal_title: str, query: str, path: str, r_type: float, title_score: float
) -> None:
    goal = replace(WANTED_LAMP, name=goal_title, query=query, product_category=path)
    reward = score_purchase(
        LAMP, goal, price=20.0, options={}, nouns=lambda text: [w for w in text.lower().split() if w.isalpha()]
    )
    assert (reward.r_type, reward.title_score) == (r_type, pytest.approx(title_score))
    assert reward.total == pytest.approx(r_type)


def test_options_are_absent_from_the_info_of_a_goal_without_any() -> None:
    info = score_purchase(LAMP, WANTED_LAMP, price=20.0, options={"color": "red"}).as_info()
    assert not {"r_option", "w_option"} & set(info)


def test_a_goal_without_attributes_can_be_met() -> None:
    reward = score_purchase(LAMP, replace(WANTED_LAMP, attributes=()), price=20.0, options={})
    assert (reward.total, reward.r_att, reward.w_att) == (1.0, 1.0, 0.0)


@given(
    attributes=st.lists(st.sampled_from(["eco friendly", "dimmable", "waterproof", "wood"]), max_size=3),
    wanted=st.lists(st.sampled_from([*COLOURS[:3], "large"]), max_size=3),
    chosen=st.sampled_from(["large", "ash", "small"]),
    price=st.floats(1, 60),
)
def test_the_total_is_the_weighted_sum_of_its_parts(
    attributes: list[str], wanted: list[str], chosen: str, price: float
) -> None:
    goal = replace(WANTED_LAMP, attributes=tuple(attributes), goal_options=tuple(wanted))
    reward = score_purchase(LAMP, goal, price=price, options={"size": chosen})
    options = (reward.r_option or 0) * (reward.w_option or 0)
    assert reward.w_att + (reward.w_option or 0) + reward.w_price == pytest.approx(1)
    assert reward.total == pytest.approx(
        reward.r_type * (reward.r_att * reward.w_att + options + reward.r_price * reward.w_price)
    )
