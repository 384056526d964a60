from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.chat.actor import ChatActor
from sightline.agents.chat.cache import AnswerCache
from sightline.agents.chat.client import MalformedAnswerError, MissingUsageError, retry_pause
from sightline.agents.chat.ledger import TokenLedger
from sightline.agents.chat.prices import TokenPrices

PAGE = "[button] Back to Search [button_]\n[button] red [button_]\nWool scarf\n$12.50\n"
PROMPTS = [f"task: find me a {wanted}\npage:\n{PAGE}action:" for wanted in ("red scarf", "blue lamp", "green kettle")]
ACTIONS = [
    ["click[back to search]", "click[red]", "click[buy now]"],
    ["search[blue lamp]", "click[back to search]"],
    ["click[< prev]", "click[red]", "click[description]", "search[green kettle]"],
]

MakeActor = Callable[..., ChatActor]


@pytest.mark.parametrize(
    "fault",
    ["408", "429", "429 0", "500", "503 soon", "hang", "reset", 'body {"choices": [', "body {}", "body <html>busy"],
)
def test_a_passing_fault_costs_another_attempt(server: Any, make_actor: MakeActor, fault: str) -> None:
    server.faults = [fault, "say 2"]
    (found,) = make_actor(timeout=5).score(PROMPTS[:1], ACTIONS[:1])
    assert found.probabilities == (0, 1, 0)
    assert len(server.requests) == 2


def test_the_wish_of_the_server_for_a_pause_is_granted(server: Any, make_actor: MakeActor) -> None:
    server.faults = ["429 0.4"]
    make_actor().score(PROMPTS[:1], ACTIONS[:1])
    assert server.times[1] - server.times[0] >= 0.4


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("500", openai.InternalServerError),
        ("429", openai.RateLimitError),
        ("reset", openai.APIConnectionError),
        ("body {}", MalformedAnswerError),
    ],
)
def test_a_lasting_fault_is_raised_after_the_retries(
    server: Any, make_actor: MakeActor, fault: str, error: type[Exception]
) -> None:
    server.faults = [fault] * 10
    with pytest.raises(error):
        make_actor().score(PROMPTS[:1], ACTIONS[:1])
    assert len(server.requests) == 3


def test_a_wrong_key_is_raised_at_once_and_what_is_under_way_is_given_up(
    server: Any, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["hang", "401"]
    server.together = threading.Barrier(2)
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    with pytest.raises(openai.AuthenticationError, match="fault 401"):
        make_actor(ledger=ledger, concurrency=2).score(PROMPTS, ACTIONS)
    assert len(server.requests) == 2
    assert {(row.error or "").partition(":")[0] for row in ledger.rows()} == {"AuthenticationError", "CancelledError"}


def test_a_server_that_hides_its_token_usage_is_refused_and_its_cost_stays_unknown(
    server: Any, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["no-usage"]
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    with pytest.raises(MissingUsageError, match="no token usage"):
        make_actor(ledger=ledger).score(PROMPTS[:1], ACTIONS[:1])
    (row,) = ledger.rows()
    assert (row.prompt_tokens, row.cost) == (None, None)
    assert len(server.requests) == 1


def test_as_many_requests_as_allowed_are_under_way_and_no_more(server: Any, make_actor: MakeActor) -> None:
    server.together = threading.Barrier(3)  # no request is answered before three are under way
    assert len(make_actor(concurrency=3).score(PROMPTS * 3, ACTIONS * 3)) == 9
    assert server.most_in_flight == 3


def test_calls_from_other_event_loops_share_the_bound_and_give_the_same(server: Any, make_actor: MakeActor) -> None:
    actor = make_actor(concurrency=2)

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(actor.ascore(PROMPTS, ACTIONS), actor.ascore(PROMPTS, ACTIONS))

    one, other = asyncio.run(both())
    assert one == other == actor.score(PROMPTS, ACTIONS)
    assert server.most_in_flight <= 2


def test_an_answered_request_is_never_sent_again_even_after_a_restart(
    server: Any, make_actor: MakeActor, tmp_path: Path
) -> None:
    server.faults = ["say prose"]
    first = make_actor(cache=AnswerCache(tmp_path), concurrency=1)
    found = first.score(PROMPTS, ACTIONS)
    assert len(server.requests) == 4
    assert first.score(PROMPTS, ACTIONS) == found
    first.close()
    second = make_actor(cache=AnswerCache(tmp_path))
    assert second.score(PROMPTS, ACTIONS) == found
    assert len(server.requests) == 4
    assert (first.cache_hits, second.cache_hits) == (4, 4)
    assert second.parse_failures == 1


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"temperature": None}, {"parameters": {"seed": 1}}])
def test_other_parameters_make_another_request(
    server: Any, make_actor: MakeActor, tmp_path: Path, options: dict[str, Any]
) -> None:
    make_actor(cache=AnswerCache(tmp_path)).score(PROMPTS[:1], ACTIONS[:1])
    make_actor(cache=AnswerCache(tmp_path), **options).score(PROMPTS[:1], ACTIONS[:1])
    assert len(server.requests) == 2


def test_the_ledger_agrees_with_the_servers_own_count(server: Any, make_actor: MakeActor, tmp_path: Path) -> None:
    server.faults = ["500", "say prose", "429", "reset"]
    prices = TokenPrices(prompt=3.0, completion=15.0, cached=0.3)
    ledger = TokenLedger(tmp_path / "ledger.jsonl", prices)
    make_actor(ledger=ledger, cache=AnswerCache(tmp_path / "cache"), max_retries=5).score(PROMPTS * 2, ACTIONS * 2)
    found = ledger.summary()
    assert found.attempts == len(server.requests)
    assert found.unanswered == 0
    assert found.requests == found.attempts - 3
    spent = server.spent
    assert {name: getattr(found, name) for name in spent} == spent
    fresh = spent["prompt_tokens"] - spent["cached_tokens"]
    expected = (fresh * 3.0 + spent["cached_tokens"] * 0.3 + spent["completion_tokens"] * 15.0) / 1e6
    assert found.cost == pytest.approx(expected)
    names = {path.stem for path in (tmp_path / "cache").rglob("*.json")}
    assert {row.request for row in ledger.rows()} == names


@given(st.integers(1, 10_000), st.one_of(st.none(), st.text(max_size=20)), st.floats(0, 1000))
def test_a_pause_is_never_negative_or_longer_than_allowed(
    attempts: int, retry_after: str | None, longest: float
) -> None:
    pause = retry_pause(attempts, retry_after, longest)
    assert pause is None or 0 <= pause <= max(1.1 * longest, 60)


def test_pauses_double_until_they_reach_a_minute() -> None:
    for attempts in range(1, 12):
        longest = min(0.5 * 2 ** (attempts - 1), 60)
        found = [retry_pause(attempts, None, 600) or 0 for _ in range(50)]
        assert longest / 2 <= min(found) < max(found) <= longest


def test_a_pause_can_be_asked_for_in_seconds_or_by_date() -> None:
    in_half_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    for header, least, most in (("7", 7, 7.7), ("90", 90, 99), (in_half_a_minute, 5, 33)):
        pause = retry_pause(1, header, 600)
        assert pause is not None
        assert least <= pause <= most
    assert retry_pause(1, "Mon, 02 Jan 2006 15:04:05 GMT", 600) == 0


def test_a_wait_beyond_the_bound_is_not_cut_short_but_given_up(server: Any, make_actor: MakeActor) -> None:
    assert retry_pause(1, "90", 60) is None
    assert retry_pause(1, format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 600) is None
    server.faults = ["429 3600"]
    with pytest.raises(openai.RateLimitError, match="fault 429"):
        make_actor().score(PROMPTS[:1], ACTIONS[:1])
    assert len(server.requests) == 1
    server.faults = ["429 1"]
    make_actor().score(PROMPTS[:1], ACTIONS[:1])
    first, second = server.times[1:]
    assert second - first >= 1
