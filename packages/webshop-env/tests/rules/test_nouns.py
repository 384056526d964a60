from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from sightline.webshop_env.rules.nouns import rule_nouns, spacy_nouns


@pytest.mark.parametrize(
    ("title", "nouns"),
    [
        ("The Lamp for My Desk", ["lamp", "desk"]),
        ("USB-C Cable, 2 Pack (6.6ft)", ["usb", "c", "cable", "pack", "6ft"]),
        ("lamp Lamp LAMP", ["lamp", "lamp", "lamp"]),
        ("Café_2 crème", ["café_2", "crème"]),
        ("12 _ 3.5 ★", []),
        ("", []),
    ],
)
def test_the_rule_takes_words_with_letters_that_are_no_function_words(title: str, nouns: list[str]) -> None:
    assert rule_nouns(title) == nouns


def stand_in_for_spacy(monkeypatch: pytest.MonkeyPatch, load: object) -> None:
    module = ModuleType("spacy")
    vars(module)["load"] = load
    monkeypatch.setitem(sys.modules, "spacy", module)


def test_spacy_keeps_common_and_proper_nouns_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"Sony": "PROPN", "makes": "VERB", "red": "ADJ", "Headphones": "NOUN"}

    def load(model: str) -> object:
        assert model == "en_core_web_sm"
        return lambda text: [SimpleNamespace(text=word, pos_=tags[word]) for word in text.split()]

    stand_in_for_spacy(monkeypatch, load)
    assert spacy_nouns()("Sony makes red Headphones") == ["sony", "headphones"]


def test_missing_spacy_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-webshop-env\[spacy\]'"):
        spacy_nouns()


def test_a_missing_model_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str) -> object:
        raise OSError(f"[E050] no {model}")

    stand_in_for_spacy(monkeypatch, load)
    with pytest.raises(OSError, match="python -m spacy download en_core_web_lg"):
        spacy_nouns("en_core_web_lg")
