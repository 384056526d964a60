from __future__ import annotations

import pytest

from sightline.retrieval.text import StemmedWords, words
from sightline.retrieval.text.words import tokenizer_name


def test_words_are_folded_in_case_and_width_and_keep_their_marks():
    assert words("Grey LAMP-shade, Straße Ｂ０７７１ é") == ["grey", "lamp", "shade", "strasse", "b0771", "é"]
    assert words("की कमीज") == ["की", "कमीज"]
    assert words("?! \n") == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("这款台灯是灰色的", "台灯"),
        ("このランプは灰色です", "ランプ"),
        ("โคมไฟตั้งโต๊ะสีเทา", "โคมไฟ"),
        ("灰色 lamp黑色", "lamp"),
    ],
)
def test_a_word_inside_of_unspaced_text_is_found(text: str, query: str):
    assert set(words(query)) <= set(words(text))


def test_runs_without_spaces_give_letters_and_pairs():
    assert words("灰色台灯B0771") == ["灰", "色", "台", "灯", "灰色", "色台", "台灯", "b0771"]


def test_stems_are_those_of_the_language_and_an_unknown_one_is_refused():
    assert StemmedWords()("LAMPS running") == ["lamp", "run"]
    assert StemmedWords("german")("Lampen") == ["lamp"]
    assert (tokenizer_name(StemmedWords()), tokenizer_name(words)) == ("stemmed-english", "words")
    with pytest.raises(ValueError, match="no stemmer for 'klingon'"):
        StemmedWords("klingon")
