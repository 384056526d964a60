from __future__ import annotations

import copy
import pickle
import random
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, GoalError, Shop, ShopState, build_goals, parse_action, render_rich
from sightline.webshop_env.catalogue.catalogue import write_catalogue
from sightline.webshop_env.goals import GoalSet
from sightline.webshop_env.rules import PageKind
from sightline.webshop_env.rules.pages import Role


def play(shop: Shop, *actions: str, goal: int = 0, seed: int = 0) -> ShopState:
    state = shop.start(goal, seed)
    for action in actions:
        state, outcome = shop.act(state, action)
        assert outcome.valid, action
    return state


def clickables(shop: Shop, state: ShopState) -> list[str]:
    return shop.page(state).available_actions["clickables"]


@pytest.fixture(scope="module")
def stored_shop(catalogue: Catalogue, goals: GoalSet, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    stored = write_catalogue(catalogue, tmp_path_factory.mktemp("stored") / "shop")
    return Shop(stored, goals, show_attributes=True)


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("click[Buy Now]", ("click", "buy now")),
        ("search[a [b] c]", ("search[a ", "b] c")),
        ("search[a] and more", ("search", "a")),
        ("search[a]]", ("search", "a]")),
        ("search[ ]", ("search", " ")),
        ("search[[]", ("search", "[")),
        ("search[a]\nclick[b]", ("search", "a")),
        ("search[a\nb]", None),
        ("search[]", None),
        ("[a]", None),
        ("search", None),
        ("", None),
        ("search[\ud800]", None),
        ("search[" + "a" * 10_000 + "]", None),
    ],
)
def test_an_action_is_a_greedy_name_and_a_lower_case_argument(action: str, parsed: tuple[str, str] | None) -> None:
    assert parse_action(action) == parsed


@given(st.text(alphabet="ab[]\n ", max_size=12))
def test_actions_parse_as_the_regular_expression_of_the_original_does(action: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (match and (match[1], match[2].lower()))


@pytest.mark.parametrize("goal", [-1, 3])
def test_a_goal_that_does_not_exist_is_an_error_with_the_range(shop: Shop, goal: int) -> None:
    with pytest.raises(GoalError, match=rf"no goal {goal}: goals are numbered 0 to 2"):
        shop.start(goal)


def test_searching_works_on_every_page_and_forgets_product_and_options(shop: Shop) -> None:
    on_item = ("search[lamp]", "click[b0lamp]", "click[red]")
    for path in ((), on_item[:1], on_item, (*on_item, "click[features]"), (*on_item, "click[buy now]")):
        state = play(shop, *path, "search[mug]")
        assert (state.kind, state.query, state.number) == (PageKind.RESULTS, "mug", 1)
        assert (state.asin, state.options) == (None, ())


def test_an_invalid_action_changes_nothing_but_the_step_count(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[red]")
    for action in ("click[search]", "click[teal]", "click[b0mug]", "think[so]", "CLICK[red]", "click[ red]", "red"):
        after, outcome = shop.act(state, action)
        assert not outcome.valid
        assert outcome.reward == 0.0
        assert after == ShopState(
            goal=0, kind=state.kind, query="lamp", asin="B0LAMP", options=state.options, visited=state.visited, steps=4
        )


def test_previous_leads_from_a_sub_page_to_the_item_with_its_options(shop: Shop) -> None:
    item = play(shop, "search[lamp]", "click[b0lamp]", "click[red]")
    back = play(shop, "search[lamp]", "click[b0lamp]", "click[red]", "click[description]", "click[< prev]")
    assert (back.kind, back.options) == (item.kind, item.options)


def test_previous_leads_from_an_item_to_its_results_page_without_options(shop: Shop) -> None:
    state = play(shop, "search[chair]", "click[next >]")
    state = play(shop, "search[chair]", "click[next >]", f"click[{clickables(shop, state)[-1]}]", "click[< prev]")
    assert (state.kind, state.number, state.asin, state.options) == (PageKind.RESULTS, 2, None, ())


def test_back_to_search_forgets_everything_of_the_search(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[red]", "click[back to search]")
    assert state == ShopState(goal=0, steps=4)


def test_next_leads_beyond_the_last_page_of_results(shop: Shop) -> None:
    state = play(shop, "search[chair]", "click[next >]", "click[next >]")
    assert clickables(shop, state) == ["back to search", "< prev", "next >"]
    assert clickables(shop, play(shop, "search[chair]"))[:2] == ["back to search", "next >"]


def test_pages_of_results_go_on_where_the_one_before_ended_and_back_by_one(shop: Shop) -> None:
    pages = [play(shop, "search[chair]", *["click[next >]"] * clicks) for clicks in range(3)]
    listed = [[text for text in clickables(shop, page) if text.startswith("b0")] for page in pages]
    assert [len(asins) for asins in listed] == [10, 1, 0]
    assert sorted(listed[0] + listed[1]) == [f"b0chair{number:02}" for number in range(11)]
    for page, before in zip(pages[1:], pages, strict=False):
        back = shop.act(page, "click[< prev]")[0]
        assert (back.number, clickables(shop, back)) == (before.number, clickables(shop, before))


def test_a_page_equals_pages_of_the_same_elements_and_nothing_else(shop: Shop) -> None:
    page = shop.page(play(shop, "search[chair]"))
    assert page == shop.page(play(shop, "search[chair]"))
    assert page != shop.page(play(shop, "search[mug]"))
    assert (page == "page") is False


def test_a_value_in_two_groups_is_chosen_in_the_later_one(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[blue]")
    assert state.options == (("size", "blue"),)
    assert clickables(shop, state).count("blue") == 1


def test_a_second_choice_replaces_the_first_in_its_place(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[café]")
    assert state.options == (("color", "café"), ("size", "small"))


def test_names_of_buttons_win_over_options_of_the_same_name(shop: Shop) -> None:
    item = ("search[mug]", "click[b0mug]")
    assert play(shop, *item, "click[description]").kind is PageKind.DESCRIPTION
    assert play(shop, *item, "click[buy now]").done
    assert play(shop, *item, "click[next >]").options == (("shape", "next >"),)
    assert not shop.act(play(shop, *item), "click[search]")[1].valid


def test_buying_ends_the_episode_with_the_reward_and_its_parts(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[red]", "click[small]")
    state, outcome = shop.act(state, "click[Buy Now]")
    assert (outcome.reward, outcome.done, state.reward, state.done) == (1.0, True, 1.0, True)
    assert outcome.parts is not None
    assert outcome.parts.r_option == 1.0
    assert clickables(shop, state) == []


def test_one_can_search_and_buy_again_after_a_purchase(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "click[buy now]", "search[lamp]")
    assert (state.done, state.kind) == (True, PageKind.RESULTS)
    again = play(
        shop, "search[lamp]", "click[b0lamp]", "click[buy now]", "search[mug]", "click[b0mug]", "click[buy now]"
    )
    assert (again.asin, again.kind) == ("B0MUG", PageKind.DONE)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("<c> kitchen", ("B0MUG",)),
        ("<c>  kitchen", ("B0MUG",)),  # two blanks: the original finds nothing, see docs/migrating.md
        ("<C> Kitchen anything", ("B0MUG",)),
        ("<c>", ()),
        ("<q> desk lamp", ("B0LAMP",)),
        ("<a> steel", ("B0LAMP",)),
        ("<a> nothing", ()),
        (" ", ()),
    ],
)
def test_special_queries_find_by_category_query_and_attribute(
    shop: Shop, stored_shop: Shop, query: str, found: tuple[str, ...]
) -> None:
    assert shop.hits(play(shop, f"search[{query}]")) == found
    assert tuple(stored_shop.hits(play(stored_shop, f"search[{query}]"))) == found


def test_random_results_are_drawn_anew_on_every_opening_and_repeat_with_the_seed(shop: Shop) -> None:
    first = shop.hits(play(shop, "search[<r>]", seed=5))
    paged = shop.hits(play(shop, "search[<r>]", "click[next >]", seed=5))
    assert sorted(first) == sorted(paged) == sorted(shop.catalogue.asins)
    assert first != paged
    assert first == shop.hits(play(shop, "search[<r>]", seed=5))
    assert first != shop.hits(play(shop, "search[<r>]", seed=6))


@pytest.mark.parametrize("query", ["<r>", "<r> 5", "<a> wood", "<c> furniture", "<q> chair", "sit down"])
def test_all_pages_of_results_are_the_same_from_a_stored_catalogue(shop: Shop, stored_shop: Shop, query: str) -> None:
    state, same = (play(each, f"search[{query}]", seed=5) for each in (shop, stored_shop))
    for _ in range(3):
        assert tuple(stored_shop.hits(same)) == tuple(shop.hits(state))
        assert stored_shop.page(same) == shop.page(state)
        state, same = shop.act(state, "click[next >]")[0], stored_shop.act(same, "click[next >]")[0]


def test_what_is_remembered_of_a_listing_does_not_grow_with_it(tmp_path: Path) -> None:
    chair = Catalogue.generate(1)[0]
    sizes = []
    for count in (10, 4000):
        same = (replace(chair, asin=f"B{number}", query="chair") for number in range(count))
        stored = write_catalogue(same, tmp_path / str(count))
        shop = Shop(stored, build_goals(stored, "human", 0))
        hits = shop.hits(play(shop, "search[<q> chair]"))
        assert len(hits) == count
        sizes.append(len(pickle.dumps(stored)) + sys.getsizeof(hits))
        assert not isinstance(hits, tuple | list)
    assert abs(sizes[0] - sizes[1]) < 10


def test_what_is_remembered_of_products_on_results_pages_is_bounded(
    catalogue: Catalogue, goals: GoalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.webshop_env.rules.shop._LISTED", 4)
    many = Shop(Catalogue.generate(60, seed=1), build_goals(Catalogue.generate(60, seed=1), "human", 0))
    unbounded = [many.page(play(many, "search[<r>]", *["click[next >]"] * number)) for number in range(5)]
    monkeypatch.undo()
    plain = Shop(many.catalogue, many.goals)
    assert unbounded == [plain.page(play(plain, "search[<r>]", *["click[next >]"] * number)) for number in range(5)]
    assert len(many._listed) <= 4 + 10 < len(plain._listed)


def test_visited_products_survive_searches_but_not_the_index_page(shop: Shop) -> None:
    state = play(shop, "search[lamp]", "click[b0lamp]", "search[mug]", "click[b0mug]")
    assert state.visited == {"B0LAMP", "B0MUG"}


def test_the_step_limit_truncates_and_counts_invalid_actions(catalogue: Catalogue, goals: GoalSet) -> None:
    shop = Shop(catalogue, goals, step_limit=2)
    state, _ = shop.act(shop.start(0), "nonsense")
    assert not state.truncated
    state, _ = shop.act(state, "nonsense")
    assert state.truncated


def test_a_limit_of_one_step_is_the_least(catalogue: Catalogue, goals: GoalSet) -> None:
    assert play(Shop(catalogue, goals, step_limit=1), "search[lamp]").truncated
    with pytest.raises(ValueError, match="step_limit must be at least 1 or None, not 0"):
        Shop(catalogue, goals, step_limit=0)


def test_a_purchase_at_the_step_limit_is_no_truncation(catalogue: Catalogue, goals: GoalSet) -> None:
    state = play(Shop(catalogue, goals, step_limit=3), "search[lamp]", "click[b0lamp]", "click[buy now]")
    assert state.done
    assert not state.truncated


def test_attributes_are_offered_only_when_asked_for(shop: Shop, catalogue: Catalogue, goals: GoalSet) -> None:
    path = ("search[lamp]", "click[b0lamp]")
    assert "attributes" in clickables(shop, play(shop, *path))
    plain = Shop(catalogue, goals)
    assert "attributes" not in clickables(plain, play(plain, *path))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda shop: pickle.loads(pickle.dumps(shop))])  # noqa: S301
def test_a_copied_shop_shows_the_same_pages(shop: Shop, duplicate) -> None:
    path = ("search[lamp]", "click[b0lamp]", "click[red]")
    copied = duplicate(shop)
    assert copied.page(play(copied, *path)) == shop.page(play(shop, *path))


def test_acting_never_changes_the_state_it_is_given(shop: Shop) -> None:
    rng = random.Random(0)
    state = shop.start(0)
    for _ in range(200):
        kept = copy.copy(state)
        labels = clickables(shop, state) or ["x"]
        after, _ = shop.act(state, rng.choice([f"click[{rng.choice(labels)}]", "search[lamp chair]"]))
        assert state == kept
        assert shop.act(state, "search[mug]") == shop.act(kept, "search[mug]")
        state = after


WORDS = st.sampled_from(["lamp", "chair", "<r>", "<c>", "<a> wood", "the", '"red"', "mug search_results", "\U0001f600"])
ACTIONS = st.one_of(
    st.tuples(st.just("label"), st.integers(0, 40)),
    st.builds("search[{}]".format, WORDS),
    st.builds("search[{}]".format, st.text(max_size=20)),
    st.builds("click[{}]".format, st.text(max_size=8)),
    st.text(max_size=20),
)


def assert_rules_hold(shop: Shop, goal: int, actions: list[str | tuple[str, int]]) -> None:
    state = shop.start(goal)
    for action in actions:
        if isinstance(action, tuple):
            labels = clickables(shop, state) or ["nothing"]
            action = f"click[{labels[action[1] % len(labels)]}]"
        after, outcome = shop.act(state, action)
        assert 0.0 <= outcome.reward <= 1.0
        assert after.steps == state.steps + 1
        assert outcome.valid or shop.page(after) == shop.page(state)
        assert outcome.done == (outcome.parts is not None)
        state = after


@given(st.integers(0, 2), st.lists(ACTIONS, max_size=30))
def test_random_actions_never_raise(shop: Shop, goal: int, actions: list[str | tuple[str, int]]) -> None:
    assert_rules_hold(shop, goal, actions)


@pytest.mark.slow
def test_ten_thousand_random_actions_never_raise() -> None:
    catalogue = Catalogue.generate(products=200, seed=1)
    shop = Shop(catalogue, build_goals(catalogue, "synthetic", 1), show_attributes=True)
    rng = random.Random(1)
    for _ in range(300):
        odd = ["search[<r>]", "search[the]", "click[search]", "", "search[" + chr(rng.randrange(0x20, 0x2FFF)) + "]"]
        actions = [rng.choice(odd) if rng.random() < 0.2 else ("label", rng.randrange(60)) for _ in range(40)]
        words = catalogue[rng.randrange(len(catalogue))].title
        assert_rules_hold(shop, rng.randrange(len(shop.goals)), [f"search[{words}]", *actions])


def test_an_option_without_text_is_not_offered_since_nothing_could_click_it(
    catalogue: Catalogue, goals: GoalSet
) -> None:
    lamp = replace(catalogue["B0LAMP"], options={"color": ("", "red")})
    others = [product for product in catalogue if product.asin != "B0LAMP"]
    odd = Shop(Catalogue.from_products([lamp, *others]), goals)
    state = play(odd, "search[desk lamp]", "click[b0lamp]")
    assert "" not in clickables(odd, state)
    assert "red" in clickables(odd, state)
    assert not odd.act(state, "click[]")[1].valid


def test_long_pages_list_fifty_hits_and_say_all_of_a_product_on_its_page() -> None:
    catalogue = Catalogue.generate(200, 1, long_texts=True)
    goals = build_goals(catalogue, "human", 1)
    long, short = (Shop(catalogue, goals, long_pages=flag) for flag in (True, False))
    results = {}
    for shop in (long, short):
        state, _ = shop.act(shop.start(0), "search[natural]")
        results[shop], asins = state, shop.hits(state)
        assert [element.text for element in shop.page(state).elements if element.role is Role.LINK] == list(
            asins[: shop.page_size]
        )
    assert (long.page_size, short.page_size) == (50, 10)
    asin = long.hits(results[long])[0]
    product = catalogue[asin]
    texts = (*product.description.split("\n\n"), *product.bullets, *product.reviews)
    for shop in (long, short):
        item, _ = shop.act(results[shop], f"click[{asin.lower()}]")
        text = render_rich(shop.page(item))
        assert all((said in text) == (shop is long) for said in texts)
        assert ("reviews" in shop.page(item).targets) == (shop is short)
    reviews, _ = short.act(item, "click[reviews]")
    assert all(review in render_rich(short.page(reviews)) for review in product.reviews)
    assert copy.deepcopy(long).page_size == 50


def test_each_part_of_a_long_page_stands_below_a_blank_line() -> None:
    catalogue = Catalogue.generate(3, 1, long_texts=True)
    shop = Shop(catalogue, build_goals(catalogue, "human", 1), long_pages=True)
    page = render_rich(shop.page(ShopState(goal=0, kind=PageKind.ITEM, asin=catalogue.asins[0])))
    parts = page.split("\n\n")
    assert sum(part.startswith("Review: ") for part in parts) == len(catalogue[0].reviews)
    assert sum(part.startswith("Feature: ") for part in parts) == len(catalogue[0].bullets)
