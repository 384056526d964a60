"""Says in words how the reward of a purchase came about, wish by wish.

The judgement is `score_purchase`'s alone. Nothing here knows how people get to read
the words, be it a web page or a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sightline.webshop_env.product import Goal, GoalOptions, Product
from sightline.webshop_env.rules.reward import Reward, score_purchase
from sightline.webshop_env.rules.state import PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that the goal asked for."""

    text: str
    """What it is, for example `color: red`."""
    met: bool
    """Whether the purchase has it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a purchase earned what it earned."""

    bought: Product
    """The product."""
    goal: Goal
    """Goal that was asked for; any product that meets all of its wishes is as good as the one it was made from."""
    options: tuple[tuple[str, str], ...]
    """The (group, value) pairs that were chosen."""
    reward: Reward
    """The score and its parts."""
    wishes: Mapping[str, tuple[Wish, ...]]
    """By what they are about ("Attributes", "Options", "Price"); a goal without options has no such entry."""
    kind: str
    """One sentence on the factor for the kind of product."""
    formula: str
    """The reward as a calculation."""


def explain(shop: Shop, state: ShopState) -> Explanation:
    """Take the reward of a purchase apart.

    Args:
        shop: shop in which it was made.
        state: state on the last page.

    Raises:
        ValueError: if the state shows another page.
    """
    if state.kind is not PageKind.DONE or state.asin is None:
        raise ValueError(f"only a purchase can be explained, not page {state.kind.value!r}")
    goal, product = shop.goal(state), shop.catalogue[state.asin]
    price = shop.goals.prices[product.asin]
    chosen = dict(state.options)

    def score(wanted: Goal) -> Reward:
        return score_purchase(product, wanted, price=price, options=chosen, nouns=shop.nouns)

    # A goal with a single wish tells of that wish whether it is met.
    attributes = tuple(
        Wish(wish, score(replace(goal, attributes=(wish,), goal_options=())).r_att == 1) for wish in goal.attributes
    )
    options = tuple(
        Wish(text, score(replace(goal, attributes=(), goal_options=wish)).r_option == 1)
        for text, wish in _single_options(goal.goal_options)
    )
    reward = score(goal)
    wishes = {
        "Attributes": attributes,
        "Options": options,
        "Price": (Wish(_price_wish(price, goal.price_upper), reward.r_price),),
    }
    return Explanation(
        bought=product,
        goal=goal,
        options=state.options,
        reward=reward,
        wishes={name: each for name, each in wishes.items() if each},
        kind=_kind(reward),
        formula=_formula(attributes, options, reward),
    )


def _single_options(options: GoalOptions) -> list[tuple[str, GoalOptions]]:
    if isinstance(options, Mapping):
        return [(f"{name}: {value}", {name: value}) for name, value in options.items()]
    return [(value, (value,)) for value in options]


def _price_wish(price: float, limit: float) -> str:
    if limit >= 1_000_000:
        return f"${price:,.2f}, and any price would do"
    return f"${price:,.2f}, at most ${limit:,.2f} allowed"


def _kind(reward: Reward) -> str:
    match reward.r_type:
        case 1.0:
            reasons = {
                "it is listed under the same search": reward.query_match,
                "its category is the same or a close one": reward.category_match,
                "its title names the same thing": reward.title_score > 0.2,
            }
            return f"The right kind of product: {' and '.join(text for text, true in reasons.items() if true)}."
        case 0.5:
            return "Probably another kind of product, with a similar title only: the reward is halved."
        case 0.1:
            return "Hardly the kind of product that was asked for: a tenth of the reward is left."
    return "Not the kind of product that was asked for, since the titles share no noun: nothing is earned."


def _formula(attributes: tuple[Wish, ...], options: tuple[Wish, ...], reward: Reward) -> str:
    """For example `(2 of 2 attributes + 0 of 1 options + 1 of 1 price) / 4 × 1 for the kind = 0.75`."""
    counted = [(attributes, "attributes"), (options, "options")]
    met = [f"{sum(wish.met for wish in wishes)} of {len(wishes)} {name}" for wishes, name in counted if wishes]
    total = len(attributes) + len(options) + 1
    sum_of_met = " + ".join([*met, f"{int(reward.r_price)} of 1 price"])
    return f"({sum_of_met}) / {total} × {reward.r_type:g} for the kind = {reward.total:.3g}"
