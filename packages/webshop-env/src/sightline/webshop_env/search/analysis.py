"""Turn text into search terms exactly as Lucene's English analyser does.

The chain is: words by Unicode word segmentation (UAX #29), possessive `'s` removed, lower case, stop words dropped,
Porter's stemmer. This module knows nothing of documents, scores or products.

Source: Unicode Standard Annex #29 (word boundaries), UTS #51 (emoji sequences); M. F. Porter, "An algorithm for suffix
stripping", Program 14(3), 1980, with the points of departure that its author lists beside his later code.
"""

from __future__ import annotations

import re
from functools import lru_cache

import regex
import Stemmer  # ty: ignore[import-not-found]  (compiled, without type stubs)

_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())

_LONGEST_TOKEN = 255
_POSSESSIVES = ("'s", "\N{RIGHT SINGLE QUOTATION MARK}s", "\N{FULLWIDTH APOSTROPHE}s")

# PyStemmer's own cache is off: `_terms_of_word` already remembers.
_stem_as_published = Stemmer.Stemmer("porter", 0).stemWord
_HAS_SYLLABLE = re.compile(r"(?:[aeiou]|(?<=[^aeiou])y)[^aeiou]")  # Porter's measure m > 0
_LATER_SUFFIX = re.compile(r"(?P<stem>.*)(?P<suffix>bl|log)[iy](?:s|es|ed|ing)?")
_RARE_DOUBLE = re.compile(r"(?P<stem>.*(?P<double>[chjkqvwx]))(?P=double)(?:ed|ing)s?")

# UAX #29 restricted to ASCII needs no property look-ups: letters join over . : ' and digits over . , ; '
_ASCII_WORD = re.compile(
    r"_*[a-z0-9][a-z0-9_]*(?:(?:(?<=[a-z])[.:'](?=[a-z])|(?<=[0-9])[.,;'](?=[0-9]))[a-z0-9][a-z0-9_]*)*"
)


def _unicode_word_grammar() -> str:
    """Spell the tokens of UAX #29 as one pattern; every symbol carries the marks that follow it (rule WB4)."""
    marks = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*"
    letter = rf"[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{marks}"
    hebrew = rf"\p{{WB=Hebrew_Letter}}{marks}"
    # Fullwidth digits became numeric only in later versions of Unicode; the analyser always took them as such.
    digit = rf"[\p{{WB=Numeric}}\uFF10-\uFF19]{marks}"
    katakana = rf"\p{{WB=Katakana}}{marks}"
    connector = rf"\p{{WB=ExtendNumLet}}{marks}"
    # The colon lost this property in the Unicode tables for some locales, hence it is named.
    between_letters = rf"[:\p{{WB=MidLetter}}\p{{WB=MidNumLet}}']{marks}"
    between_digits = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{marks}"
    run = (
        rf"(?:(?:{katakana})+"
        rf"|(?:{letter}{between_letters}(?={letter})|{hebrew}\"{marks}(?={hebrew})|{hebrew}'{marks}"
        rf"|{digit}{between_digits}(?={digit})|{letter}|{digit})+)"
    )
    word = rf"(?:{connector})*{run}(?:(?:{connector})+{run})*(?:{connector})*"

    # Unicode 14's Extended_Pictographic. Unicode 17 took it away from signs that are no emoji (the black star, chess
    # pieces, notes), so what newer tables lack is listed.
    pictograph = (
        r"[\p{Extended_Pictographic}\u2388\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2763-\u2767"
        r"\U0001F000-\U0001F0FF\U0001F10D-\U0001F10F\U0001F12F\U0001F16C-\U0001F171\U0001F1AD-\U0001F1E5"
        r"\U0001F249-\U0001F3FA\U0001F546-\U0001F64F\U0001F680-\U0001F6FF\U0001F774-\U0001F77F\U0001F7D5-\U0001F7FF"
        r"\U0001F8AE-\U0001F8FF\U0001F947-\U0001FAFF\U0001F3FB-\U0001F3FF]"
    )
    # A joiner before a pictograph starts the sequence's next element instead of trailing the one before.
    plain_marks = rf"(?:(?!\u200D{pictograph})[[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}]--[\uFE0E\uFE0F]])*"
    emoji = rf"{pictograph}{plain_marks}\uFE0F?"
    emoji_sequence = rf"\u200D*{emoji}(?:\u200D{emoji})*"
    keycap = rf"[#*]{plain_marks}\uFE0F?\u20E3{plain_marks}"
    flag = rf"(?:\p{{WB=Regional_Indicator}}{marks}){{2}}"

    # Scripts without spaces: South-East Asian runs stay whole, Han and Hiragana go by single characters.
    others = rf"(?:\p{{LB=SA}}{marks})+|[\p{{Script=Han}}\p{{Script=Hiragana}}]{marks}"
    return f"{word}|{emoji_sequence}|{keycap}|{flag}|{others}"


_UNICODE_WORD = regex.compile(_unicode_word_grammar(), regex.VERSION1)


def _words(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text)
    # A space always ends a word, so the slow pattern only sees the pieces that need it.
    return [
        word for piece in text.split(" ") for word in (_ASCII_WORD if piece.isascii() else _UNICODE_WORD).findall(piece)
    ]


def _stem(token: str) -> str:
    """Porter's stemmer as Lucene has it, from Snowball's, which lacks three of its rules.

    Before "ed" and "ing" every double consonant is halved ("trekking"), not only the common ones. In step 2, as in its
    author's later code, `bli` (not only `abli`) becomes `ble`, and `logi` becomes `log`.
    """
    stemmed = _stem_as_published(token)
    if (match := _RARE_DOUBLE.fullmatch(token)) and stemmed == match["stem"] + match["double"]:
        return _stem_as_published(match["stem"])
    if not stemmed.endswith(("bli", "logi")):
        return stemmed
    match = _LATER_SUFFIX.fullmatch(token)
    if match is None or not _HAS_SYLLABLE.search(match["stem"]):
        return stemmed
    shorter = match["stem"] + match["suffix"]
    return shorter if match["suffix"] == "log" else _stem_as_published(shorter + "e")


# Keys are short and few: a cache of whole words would let one searcher fill gigabytes.
@lru_cache(maxsize=1 << 15)
def _term(token: str) -> str:
    """Return the term of one token, or "" for a stop word."""
    if token.endswith(_POSSESSIVES):
        token = token[:-2]
    if token in STOP_WORDS:
        return ""
    return _stem(token) if len(token) > 2 else token


def search_terms(text: str) -> list[str]:
    """Split `text` into the terms under which it is indexed or sought, in order and with repeats."""
    tokens = _words(text.lower())
    if max(map(len, tokens), default=0) > _LONGEST_TOKEN:
        pieces = ((word, range(0, len(word), _LONGEST_TOKEN)) for word in tokens)
        tokens = [word[start : start + _LONGEST_TOKEN] for word, starts in pieces for start in starts]
    return list(filter(None, map(_term, tokens)))
