from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.chat.actor import ChatActor, ChoiceError, parse_choice
from sightline.agents.chat.client import retry_pause


@pytest.mark.parametrize(
    ("text", "index"),
    [
        *(("2", 1), (" 3\n", 2), ('{"action": 1}', 0), ('{"action":3,"why":""}', 2)),
        *(('```json\n{"action": 2}\n```', 1), ("```\n2\n```", 1), ('<think>{"action": 1}?</think>\n{"action": 2}', 1)),
    ],
)
def test_a_number_or_json_with_a_number_is_understood(text: str, index: int) -> None:
    assert parse_choice(text, 3) == index


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "4", "-1", "1.", "2 or 3", "action 2", "²", "[1]", "null", "NaN", "9" * 5000, "[" * 5000),
        *('{"action": true}', '{"action": "2"}', '{"action": 1.0}', '{"choice": 1}', "<think>2", "```2```\n```3```"),
    ],
)
def test_everything_else_is_not(text: str) -> None:
    with pytest.raises(ChoiceError) as caught:
        parse_choice(text, 3)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=50))
def test_any_text_is_an_action_in_range_or_an_error(text: str) -> None:
    with suppress(ChoiceError):
        assert 0 <= parse_choice(text, 3) < 3


@given(st.integers(1, 10_000), st.one_of(st.none(), st.text(max_size=20)))
def test_a_pause_is_never_negative_or_longer_than_a_minute(attempts: int, retry_after: str | None) -> None:
    assert 0 <= retry_pause(attempts, retry_after) <= 60


def test_pauses_double_until_they_reach_a_minute() -> None:
    for attempts in range(1, 12):
        longest = min(0.5 * 2 ** (attempts - 1), 60)
        found = [retry_pause(attempts, None) for _ in range(50)]
        assert longest / 2 <= min(found) < max(found) <= longest


def test_a_pause_can_be_asked_for_in_seconds_or_by_date() -> None:
    in_half_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 7 <= retry_pause(1, "7") <= 7.7
    assert 5 <= retry_pause(1, in_half_a_minute) <= 33
    assert retry_pause(1, "Mon, 02 Jan 2006 15:04:05 GMT") == 0
    assert retry_pause(1, "86400") == 60


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"parameters": {"stream": True}}, "stream"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"reasks": -1}, "reasks"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ChatActor("tiny", "http://127.0.0.1:9/v1", "key", **options)


def test_a_prompt_without_actions_is_an_error() -> None:
    with ChatActor("tiny", "http://127.0.0.1:9/v1", "key") as actor, pytest.raises(ValueError, match="no actions"):
        actor.score(["task: x"], [[]])
