from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sightline.agents.grammar import webshop_grammar
from sightline.agents.student.tokenizer import train_tokenizer

TEXTS = ["task: find me a red chair\npage:\n[button] Red Chair [button_]\naction:", "click[red chair]"] * 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, webshop_grammar.markers, 330, 1024)


def test_a_word_has_the_same_tokens_wherever_it_stands(tokenizer: PreTrainedTokenizerFast) -> None:
    def tokens(text: str) -> list[str]:
        return [str(tokenizer.convert_ids_to_tokens(token)) for token in tokenizer(text)["input_ids"]]

    word = tokens("b0tuwk9we6")
    assert tokens("click[b0tuwk9we6]") == ["click[", *word, "]"]
    assert tokens("[button] B0TUWK9WE6 [button_]\n") == ["[button]", *word, "[button_]", "\n"]
    assert tokens("action: click[B0TUWK9WE6") == [*tokens("action"), ":", "click[", *word]


@given(st.text(max_size=30))
def test_every_text_has_tokens_that_keep_all_but_case_and_space(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    decoded = str(tokenizer.decode(tokenizer(text)["input_ids"]))
    expected = unicodedata.normalize("NFC", text).lower()
    assert re.sub(r"\s", "", decoded) == re.sub(r"\s", "", expected)


def test_the_tokenizer_is_the_same_each_time() -> None:
    first, second = (
        train_tokenizer(TEXTS, webshop_grammar.markers, 300, 128).backend_tokenizer.to_str() for _ in range(2)
    )
    assert first == second


def test_a_vocabulary_without_room_for_all_bytes_and_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 263"):
        train_tokenizer(TEXTS, webshop_grammar.markers, vocabulary_size=262, context=64)
