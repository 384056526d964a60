from __future__ import annotations

import pytest

from sightline.webshop_env import GoalError, Shop, SnapshotError
from sightline.webshop_env.episodes.episode import Episode, EpisodeError

BUY = ("search[wood chair 7]", "click[b0chair07]", "click[buy now]")


def test_an_episode_is_what_the_rules_say_step_by_step(shop: Shop) -> None:
    episode = Episode(shop)
    assert episode.begin(2, seed=5) == shop.page(shop.start(2, 5))
    state = shop.start(2, 5)
    for action in ("click[nothing]", *BUY):
        state, outcome = shop.act(state, action)
        turn = episode.act(action)
        assert (episode.state, turn.outcome, turn.ended) == (state, outcome, state.done)
        assert episode.page == shop.page(state)
        assert (turn.error is None) == outcome.valid
    assert episode.instruction == shop.goals.goals[2].instruction_text


def test_it_refuses_actions_before_the_beginning_and_after_the_end(shop: Shop) -> None:
    episode = Episode(shop)
    assert not episode.begun
    with pytest.raises(EpisodeError, match="there is no episode yet"):
        episode.act("search[lamp]")
    episode.begin(2)
    for action in BUY:
        episode.act(action)
    assert episode.ended
    with pytest.raises(EpisodeError, match="the episode is over: it ended with a purchase"):
        episode.act("search[lamp]")
    goes_on = Episode(shop, goes_on=True)
    goes_on.move(episode.state)
    assert goes_on.act("search[lamp]").outcome.valid


def test_a_step_limit_ends_it_without_a_purchase(shop: Shop) -> None:
    limited = Episode(Shop(shop.catalogue, shop.goals, step_limit=2))
    limited.begin(0)
    assert [limited.act("search[lamp]").ended for _ in range(2)] == [False, True]
    with pytest.raises(EpisodeError, match="the episode is over: it was cut off after 2 steps"):
        limited.act("search[lamp]")


def test_a_lenient_episode_says_what_it_took_and_repaired(shop: Shop) -> None:
    episode = Episode(shop, lenient=True)
    episode.begin(0)
    turn = episode.act("Action: search[lamp]")
    assert (turn.action, turn.outcome.valid) == ("search[lamp]", True)
    assert turn.repairs == ("left out what stands before the action",)


def test_it_goes_back_to_a_snapshot_and_stays_where_it_is_at_a_wrong_one(shop: Shop) -> None:
    episode = Episode(shop)
    episode.begin(0)
    episode.act("search[lamp]")
    saved, page = episode.snapshot(), episode.page
    episode.act("click[b0lamp]")
    with pytest.raises(SnapshotError):
        episode.restore(b"nothing")
    assert episode.state.asin == "B0LAMP"
    episode.begin(2)
    assert episode.instruction == shop.goals.goals[2].instruction_text
    assert episode.restore(saved) == page
    assert episode.instruction == shop.goals.goals[0].instruction_text
    with pytest.raises(GoalError):
        episode.begin(99)
    assert episode.page == page
