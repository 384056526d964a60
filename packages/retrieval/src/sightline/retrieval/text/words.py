"""Words of a text, for searches by words: in scripts that set spaces between words, and in those that do not.

This module does not know what is searched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import TypeAlias

Tokenizer: TypeAlias = Callable[[str], list[str]]
"""From a text to its words, each as often as it occurs. Whoever keeps an index notes its `__qualname__` or `name`."""

# Chinese, Japanese, Thai, Lao, Burmese and Khmer set no spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)


def words(text: str) -> list[str]:
    """Return the words of a text, folded in case and in width.

    A run of a script without spaces gives its letters and its pairs of neighbouring letters, which find what a
    dictionary would cut out (Nie et al., "On the use of words and n-grams for Chinese information retrieval", 2000).
    """
    found: list[str] = []
    for run in _runs().finditer(unicodedata.normalize("NFKC", text).casefold()):
        if run.lastgroup == "word":
            found.append(run.group())
        else:
            letters = run.group()
            found += letters
            found += map("".join, pairwise(letters))
    return found


class StemmedWords:
    """The words of a text, those of a language reduced to their Snowball stems. Needs the extra `hybrid`.

    Args:
        language: language of the stemmer: "english", "german" or another of PyStemmer's.

    Raises:
        ImportError: the extra `hybrid` is not installed.
        ValueError: there is no stemmer for the language.
    """

    def __init__(self, language: str = "english") -> None:
        try:
            import Stemmer  # ty: ignore[import-not-found] (a compiled module without type information)
        except ImportError as error:
            raise ImportError(
                "PyStemmer is not installed, and StemmedWords needs it; "
                "install it with: pip install 'sightline-retrieval[hybrid]'"
            ) from error
        if language not in Stemmer.algorithms():
            raise ValueError(f"there is no stemmer for {language!r}; there are {', '.join(Stemmer.algorithms())}")
        self.name = f"stemmed-{language}"
        self._language, self._make = language, Stemmer.Stemmer

    def __call__(self, text: str) -> list[str]:
        """Return the stems of a text's words."""
        return self._make(self._language).stemWords(words(text))  # one each: a stemmer must not be shared by threads


def tokenizer_name(tokenizer: Tokenizer) -> str:
    """Return what an index notes of a tokenizer."""
    return str(getattr(tokenizer, "name", None) or getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__))


@cache
def _runs() -> re.Pattern[str]:
    # Vowel signs and accents belong to the word, and Python's \w leaves them out.
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?P<word>(?:(?![{_UNSPACED}])[\w{marks}])+)")
