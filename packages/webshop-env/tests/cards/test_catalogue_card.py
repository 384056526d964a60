from __future__ import annotations

from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals, reachable_rewards
from sightline.webshop_env.cards.catalogue_card import Spread, _right_products, describe, write_card
from sightline.webshop_env.catalogue import write_catalogue
from sightline.webshop_env.commands.main import main

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "webshop-real"


def test_a_small_catalogue_is_described_as_counted_by_hand(shop: Shop) -> None:
    facts = describe(shop.catalogue, shop.goals)
    assert (facts.products, facts.categories, facts.queries) == (13, 3, 3)
    assert facts.words[0].median == 3  # "Chair Number 0"
    assert facts.vocabulary is None
    assert facts.options[0] == pytest.approx(2 / 13)
    assert facts.options[1].median == 1.5
    assert facts.prices[1:] == (pytest.approx(1 / 13), pytest.approx(1 / 13))
    assert facts.annotated == (1.0, Spread.of([2, *[1] * 12]))
    # The lamp and the mug are alone of their kind; any of eleven chairs is of wood.
    assert (facts.goals[0], facts.sampled) == (3, 3)
    assert facts.right_products == Spread.of([1, 1, 11])
    assert facts.several_right == pytest.approx(1 / 3)


def test_right_products_are_those_that_can_be_bought_for_the_whole_reward() -> None:
    catalogue = Catalogue.generate(40, seed=1)
    shop = Shop(catalogue, build_goals(catalogue, "human", 1))
    for goal in range(0, 40, 8):
        best = max(each.reward for each in reachable_rewards(shop, shop.start(goal)).values())
        # Where a product offers every wish, some purchase within reach of a search earns all, and the other way round.
        assert (_right_products(list(catalogue), shop.goals, goal) > 0) >= (best == 1.0)


def test_the_card_has_a_row_for_each_fact_and_a_column_for_each_catalogue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(Catalogue.generate(30, seed=1), tmp_path / "small")
    out = tmp_path / "card.md"
    assert (
        main(["describe", "--products", "40", "--beside", str(tmp_path / "small"), "--sample", "5", "--out", str(out)])
        == 0
    )
    text = out.read_text()
    assert "| | generated | small |" in text
    assert "| products | 40 | 30 |" in text
    assert "right products of a goal (5 goals)" in text
    assert main(["describe", str(tmp_path / "small"), "--sample", "3"]) == 0
    assert "| products | 30 |" in capsys.readouterr().out
    assert main(["describe", "--sample", "0"]) == 2
    assert write_card([("a|b", describe(Catalogue.generate(5), build_goals(Catalogue.generate(5), "human", 1)))])


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the real products are not at {GOLDEN}")
def test_real_products_have_longer_texts_than_made_up_ones() -> None:
    real = Catalogue.from_official(GOLDEN / "items_shuffle.json", GOLDEN / "items_ins_v2.json")
    facts = describe(real, build_goals(real, "synthetic", 42), sample=20)
    made = Catalogue.generate(63)
    assert facts.words[0].median > describe(made, build_goals(made, "synthetic", 42), sample=20).words[0].median
