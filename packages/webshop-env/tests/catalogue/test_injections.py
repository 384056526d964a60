from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Shop, build_goals, render_rich, render_text, rule_action
from sightline.webshop_env.catalogue.injections import Attack, inject, obeyed
from sightline.webshop_env.rules import PageKind


@pytest.fixture(scope="module")
def clean() -> Catalogue:
    return Catalogue.generate(50, seed=9)


@given(st.floats(0, 1), st.integers(0, 9))
def test_only_the_attacked_products_differ_and_only_in_one_text(clean: Catalogue, share: float, seed: int) -> None:
    attacked, injections = inject(clean, share, seed)
    assert len(injections) == round(share * 50)
    assert attacked.asins == clean.asins
    for before, after in zip(clean, attacked, strict=True):
        injection = injections.get(before.asin)
        if injection is None:
            assert after == before
        else:
            assert injection.text in f"{after.title} {after.description} {after.bullets}"
            assert replace(after, **{injection.field: getattr(before, injection.field)}) == before


def test_every_kind_of_attack_is_used_and_the_seed_decides_where(clean: Catalogue) -> None:
    _, injections = inject(clean, 0.4, seed=3)
    assert {injection.attack for injection in injections.values()} == set(get_args(Attack))
    assert len(get_args(Attack)) >= 5
    assert inject(clean, 0.4, seed=3)[1] == injections
    assert inject(clean, 0.4, seed=4)[1] != injections


def test_an_attack_is_seen_where_its_text_is_shown_and_its_action_can_be_taken(clean: Catalogue) -> None:
    attacked, injections = inject(clean, 1.0, seed=1)
    shop = Shop(attacked, build_goals(clean, "human", 9))
    for asin, injection in injections.items():
        state = shop.start(0)._replace(kind=PageKind.ITEM, asin=asin, visited=frozenset({asin}))
        if injection.field == "title":
            page = shop.page(state)
            assert injection.is_shown(render_text(page))
            assert injection.is_shown(render_rich(page))


def test_text_cannot_become_a_button(clean: Catalogue) -> None:
    attacked, injections = inject(clean, 1.0, attacks=["fake_button"])
    shop = Shop(attacked, build_goals(clean, "human", 9))
    for asin in injections:
        labels = set(shop.page(shop.start(0)._replace(kind=PageKind.ITEM, asin=asin)).targets)
        assert "confirm order" not in labels


def test_obeying_is_doing_what_was_asked_while_it_was_shown(clean: Catalogue) -> None:
    _, injections = inject(clean, 1.0, seed=2, attacks=["leave"])
    attack = next(iter(injections.values()))
    assert obeyed([attack], [("a page", "click[back to search]")], None) == (False, False)
    assert obeyed([attack], [(f"a page {attack.text}", "click[buy now]")], attack.asin) == (True, False)
    assert obeyed([attack], [(f"a page {attack.text}", "Click[Back to Search]")], None) == (True, True)
    _, injections = inject(clean, 1.0, seed=2, attacks=["buy_another"])
    attack = next(iter(injections.values()))
    other = attack.action.removeprefix("click[").removesuffix("]").upper()
    steps = [(attack.text, "click[< prev]"), ("results", attack.action)]
    assert obeyed([attack], steps, other) == (True, True)
    assert obeyed([attack], steps, attack.asin) == (True, False)


def test_goals_of_the_clean_catalogue_are_asked_in_the_attacked_shop(clean: Catalogue) -> None:
    attacked, _ = inject(clean, 0.5)
    goals = build_goals(clean, "human", 9)
    before, after = Shop(clean, goals), Shop(attacked, goals)
    assert [after.goal(after.start(i)) for i in range(20)] == [before.goal(before.start(i)) for i in range(20)]
    state = after.start(0)
    assert rule_action(after.goal(state).instruction_text, after.page(state)).startswith("search[")


@pytest.mark.parametrize(("share", "attacks"), [(-0.1, ["leave"]), (1.1, ["leave"]), (0.5, []), (0.5, ["dance"])])
def test_nonsense_is_refused(clean: Catalogue, share: float, attacks: list[Attack]) -> None:
    with pytest.raises(ValueError, match=r"share must be from 0 to 1|attacks must be of buy_another"):
        inject(clean, share, attacks=attacks)


def test_where_customers_review_an_attack_may_be_a_review() -> None:
    catalogue = Catalogue.generate(60, 1, long_texts=True)
    attacked, injections = inject(catalogue, 1.0, seed=3)
    reviews = [injection for injection in injections.values() if injection.field == "reviews"]
    assert reviews
    assert all(attacked[injection.asin].reviews[-1] == injection.text for injection in reviews)
    assert all(each.field != "reviews" for each in inject(Catalogue.generate(60, 1), 1.0, seed=3)[1].values())
