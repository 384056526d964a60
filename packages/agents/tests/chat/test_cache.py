from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from sightline.agents.chat.cache import AnswerCache, ChatAnswer, request_digest

REQUEST: dict[str, JsonValue] = {
    "base_url": "http://localhost/v1/",
    "model": "tiny",
    "messages": [{"role": "user", "content": "ünïque\n1. click[a]"}],
    "temperature": 0.0,
    "seed": 3,
    "max_tokens": 20,
}
ANSWER = ChatAnswer(text='{"action": 1}', finish_reason="stop", prompt_tokens=9, completion_tokens=3, cached_tokens=2)
OTHER = ANSWER.model_copy(update={"text": "2"})


def entry(folder: Path) -> Path:
    (path,) = folder.rglob("*.json")
    return path


def test_a_kept_answer_is_found_again_by_another_cache_on_the_folder(tmp_path: Path) -> None:
    assert AnswerCache(tmp_path).get(REQUEST) is None
    assert AnswerCache(tmp_path).keep(REQUEST, ANSWER) == ANSWER
    assert AnswerCache(tmp_path).get(REQUEST) == ANSWER


@pytest.mark.parametrize("changed", [*REQUEST, "top_p"])
def test_a_request_that_differs_in_any_field_has_no_answer(tmp_path: Path, changed: str) -> None:
    cache = AnswerCache(tmp_path)
    cache.keep(REQUEST, ANSWER)
    assert cache.get(REQUEST | {changed: "something else"}) is None


def test_the_digest_is_that_of_json_with_sorted_keys_and_does_not_depend_on_their_order() -> None:
    expected = hashlib.sha256(rb'{"a":"\u00fc","b":[1,2.5,null]}').hexdigest()
    assert request_digest({"b": [1, 2.5, None], "a": "ü"}) == expected
    assert request_digest({"a": "ü", "b": [1, 2.5, None]}) == expected


def test_a_number_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        request_digest({"temperature": float("nan")})


def test_the_first_answer_stays(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.keep(REQUEST, ANSWER)
    assert cache.keep(REQUEST, OTHER) == ANSWER
    assert cache.get(REQUEST) == ANSWER


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_entry_cut_off_anywhere_is_ignored_and_replaced(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        cache = AnswerCache(Path(folder))
        cache.keep(REQUEST, ANSWER)
        path = entry(Path(folder))
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 3))])
        assert cache.get(REQUEST) is None
        assert cache.keep(REQUEST, OTHER) == OTHER
        assert cache.get(REQUEST) == OTHER


def test_an_entry_under_the_name_of_another_request_is_ignored(tmp_path: Path) -> None:
    AnswerCache(tmp_path / "a").keep(REQUEST, ANSWER)
    other = REQUEST | {"seed": 4}
    AnswerCache(tmp_path / "b").keep(other, OTHER)
    entry(tmp_path / "b").write_bytes(entry(tmp_path / "a").read_bytes())
    assert AnswerCache(tmp_path / "b").get(other) is None


def test_many_writers_of_one_request_leave_one_whole_answer(tmp_path: Path) -> None:
    answers = [ANSWER.model_copy(update={"text": str(number)}) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda answer: AnswerCache(tmp_path).keep(REQUEST, answer), answers))
    assert AnswerCache(tmp_path).get(REQUEST) in answers
    assert [path.name for path in tmp_path.rglob("*.*")] == [f"{request_digest(REQUEST)}.json"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AnswerCache(tmp_path / "file").keep(REQUEST, ANSWER)
