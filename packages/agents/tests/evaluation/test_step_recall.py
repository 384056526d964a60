from __future__ import annotations

import pytest

from sightline.agents.evaluation.step_recall import (
    agreement_by_page,
    chunks_of_step,
    recall_by_page,
    recall_by_step,
    target_read,
)
from sightline.agents.grammar import ShopPage, webshop_grammar
from sightline.agents.records import Attention
from sightline.agents.trajectory import Step, Trajectory
from sightline.retrieval import ChunkingConfig

CHUNKING = ChunkingConfig()
RESULTS = (
    "[button] Next > [button_]\n\n[button] B0AAAAAAAA [button_]\na red lamp\n\n[button] B0BBBBBBBB [button_]\na desk"
)
ITEM = "colour\n\n[button] red [button_]\n\n[button] Buy Now [button_]"
ACTIONS = {
    RESULTS: ("click[next >]", "click[b0aaaaaaaa]", "click[b0bbbbbbbb]"),
    ITEM: ("click[< prev]", "click[red]", "click[buy now]"),
}


def step(page: str, expert: str | None, *read: int) -> Step:
    chunks = page.split("\n\n")
    return Step(
        observation=page,
        available_actions=ACTIONS[page],
        action=ACTIONS[page][1],
        expert_action=expert,
        reward=0.0,
        attention=tuple(Attention(chunks[index], 0.5, selected=True) for index in read),
    )


def episode(goal: int, *steps: Step, error: str | None = None) -> Trajectory:
    return Trajectory(
        episode_id=str(goal),
        goal=goal,
        agent="any",
        seed=0,
        instruction="a red lamp",
        steps=steps,
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=True,
        error=error,
    )


HIT, MISS = step(RESULTS, "click[b0aaaaaaaa]", 1), step(RESULTS, "click[b0bbbbbbbb]", 0, 1)


def test_every_chunk_of_the_page_is_shown_with_what_became_of_it() -> None:
    chunks = chunks_of_step(MISS, "a red lamp", webshop_grammar, CHUNKING)
    assert [(chunk.score, chunk.read, chunk.target) for chunk in chunks] == [
        (0.5, True, False),
        (0.5, True, False),
        (None, False, True),
    ]
    assert target_read(chunks) is False


def test_a_recorded_chunk_that_was_passed_over_is_not_read() -> None:
    passed = MISS.model_copy(update={"attention": (Attention(RESULTS.split("\n\n")[2], -1.0, selected=False),)})
    chunk = chunks_of_step(passed, "a red lamp", webshop_grammar, CHUNKING)[2]
    assert (chunk.score, chunk.read, chunk.target) == (-1.0, False, True)


def test_an_agent_without_attention_has_read_the_whole_page_and_has_no_recall() -> None:
    whole = step(RESULTS, "click[b0aaaaaaaa]")
    assert all(chunk.read for chunk in chunks_of_step(whole, "a red lamp", webshop_grammar, CHUNKING))
    assert recall_by_step([[episode(0, whole)]], webshop_grammar, CHUNKING, seed=0) == {}


def test_nothing_was_to_be_read_where_the_expert_searches_or_is_not_known() -> None:
    assert target_read(chunks_of_step(step(RESULTS, None, 0), "a red lamp", webshop_grammar, CHUNKING)) is None


def test_another_chunking_than_the_agents_is_refused() -> None:
    strange = MISS.model_copy(update={"attention": (Attention("no such chunk", 1.0, selected=True),)})
    with pytest.raises(
        ValueError, match="'no such chunk', which is no chunk of its page; give the chunking it read with"
    ):
        recall_by_step([[episode(0, strange)]], webshop_grammar, CHUNKING, seed=0)


def test_recall_by_step_averages_decisions_within_a_goal_and_goals_after() -> None:
    seeds = [[episode(0, HIT, MISS), episode(1, HIT)], [episode(0, MISS), episode(0, MISS)], [episode(0, MISS)]]
    found = recall_by_step(seeds, webshop_grammar, CHUNKING, seed=0)
    assert list(found) == [1, 2]
    assert (found[1].goals, found[1].decisions) == (2, 5)
    assert found[1].interval is not None
    assert found[1].interval.value == (0.25 + 1) / 2
    assert found[1].interval.resampled == "goals and training seeds"
    assert (found[2].goals, found[2].interval) == (1, None)


def test_broken_episodes_are_left_out() -> None:
    assert (
        recall_by_step([[episode(0, MISS, error="gone"), episode(1, HIT)]], webshop_grammar, CHUNKING, seed=0)[
            1
        ].decisions
        == 1
    )


def test_recall_by_page_tells_results_from_products() -> None:
    buy = step(ITEM, "click[buy now]", 2)
    found = recall_by_page([[episode(0, MISS, buy), episode(1, MISS, buy)]], webshop_grammar, CHUNKING, seed=0)
    assert list(found) == [ShopPage.RESULTS, ShopPage.PRODUCT]
    assert [value.interval.value for value in found.values() if value.interval is not None] == [0, 1]


def test_agreement_counts_decisions_at_which_it_is_known_what_was_best() -> None:
    unknown = step(ITEM, None)
    valued = step(ITEM, None).model_copy(update={"values": (0.1, 0.7, 0.7)})  # two are best, and it does one of them
    episodes = [[episode(0, HIT, MISS), episode(1, HIT, unknown, valued)], [episode(0, MISS), episode(1, HIT)]]
    found = agreement_by_page(episodes, webshop_grammar, seed=0)
    assert list(found) == [ShopPage.RESULTS, ShopPage.PRODUCT]
    results, product = found[ShopPage.RESULTS], found[ShopPage.PRODUCT]
    assert (results.goals, results.decisions) == (2, 5)
    assert results.interval is not None
    assert results.interval.value == pytest.approx((1 / 3 + 1) / 2)  # the mean of two goals
    assert (product.goals, product.decisions, product.interval) == (1, 1, None)


def test_whole_pages_count_for_agreement_and_broken_episodes_do_not() -> None:
    whole, wrong = step(RESULTS, "click[b0aaaaaaaa]"), step(RESULTS, "click[b0bbbbbbbb]")
    episodes = [[episode(0, whole), episode(1, wrong), episode(2, wrong, error="the server is gone")]]
    found = agreement_by_page(episodes, webshop_grammar, seed=0)[ShopPage.RESULTS]
    assert (found.goals, found.decisions) == (2, 2)
    assert found.interval is not None
    assert found.interval.value == pytest.approx(0.5)
