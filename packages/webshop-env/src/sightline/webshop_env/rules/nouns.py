"""Find the nouns of a product title, which the reward compares; the tagger is a plain function and can be replaced.

The original environment uses spaCy. Its model is large and optional here, so that the default is a rule that calls
nearly every word a noun; scores under different taggers are not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

NounTagger: TypeAlias = Callable[[str], list[str]]
"""Text -> its nouns in lower case, in order and with repeats; must be a pure function, as results are cached."""

_WORD = re.compile(r"\w+")
_STOP_WORDS = "a an and the of for with in on to by or from at as is are be that this it its your our my no not"
_FUNCTION_WORDS = frozenset(_STOP_WORDS.split())
_NOUN_TAGS = frozenset({"NOUN", "PROPN"})


def rule_nouns(text: str) -> list[str]:
    """Call every word a noun that holds a letter and is not a function word such as "the" or "with"."""
    words = _WORD.findall(text.lower())
    return [word for word in words if word not in _FUNCTION_WORDS and any(map(str.isalpha, word))]


def spacy_nouns(model: str = "en_core_web_sm") -> NounTagger:
    """Load a spaCy model and return a tagger that finds common and proper nouns with it.

    Args:
        model: name of an installed spaCy pipeline, or a path to one. The original shop uses `en_core_web_sm`.

    Raises:
        ImportError: if spaCy is not installed.
        OSError: if the model is not installed.
    """
    try:
        spacy = import_module("spacy")
    except ImportError as error:
        raise ImportError(
            "spacy_nouns needs spaCy; install it with: pip install 'sightline-webshop-env[spacy]'"
        ) from error
    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise OSError(f"spaCy has no model {model!r}; install it with: python -m spacy download {model}") from error

    def nouns(text: str) -> list[str]:
        return [token.text.lower() for token in pipeline(text) if token.pos_ in _NOUN_TAGS]

    return nouns
