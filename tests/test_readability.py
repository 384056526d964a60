"""Pages can be read: short sentences on every page, and few numbers before a reader knows what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]
PAGES = [
    *READMES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob("packages/*/CHANGELOG.md")),
    *sorted(ROOT.glob("packages/*/docs/*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
MOST_WORDS = 18
"""Words of a sentence, on average over a page, and at most in the three that open a README."""
MOST_NUMBERS = 2
"""Numbers in a hundred words of a first screen."""

FENCED = re.compile(r"^ *```.*?^ *```[^\n]*$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n+)+")
ITEM = re.compile(r"^ *(?:[-*+]|\d+\.) +", re.MULTILINE)
END_OF_SENTENCE = re.compile(r"(?<=[.!?])[*_)\"]*\s+")


def without_code(text: str) -> str:
    """Return a page without blocks of code and comments; code within a line counts as one word, a link as its text."""
    text = INDENTED.sub("", FENCED.sub("", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)))
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`\n]*(?:\n[^`\n]+)?`", "code", text)


def sentences(text: str) -> list[str]:
    """Return the sentences of a page's prose: not of headings and tables. An item of a list ends a sentence."""
    lines = [line for line in without_code(text).splitlines() if not line.lstrip().startswith(("#", "|", ":::"))]
    paragraphs = re.split(r"\n\s*\n", ITEM.sub("\n\n", "\n".join(lines)))
    split = [sentence.strip() for paragraph in paragraphs for sentence in END_OF_SENTENCE.split(paragraph)]
    return [sentence for sentence in split if words(sentence)]


def words(text: str) -> list[str]:
    """Return what stands between spaces and holds a letter or a digit."""
    return [word for word in text.split() if re.search(r"[^\W_]", word)]


def numbers(text: str) -> list[str]:
    """Return the words that begin with a digit; signs, brackets and currencies may stand before it."""
    return [word for word in words(text) if re.match(r"\W*\d", word)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_of_a_page_have_at_most_18_words_on_average(page: Path) -> None:
    found = sentences(page.read_text(encoding="utf-8"))
    count = sum(len(words(sentence)) for sentence in found)
    longest = max(found, key=lambda sentence: len(words(sentence)), default="")
    assert count <= MOST_WORDS * len(found), f"{count / len(found):.1f}; the longest: {longest}"


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_three_short_sentences_without_numbers_open_a_readme(readme: Path) -> None:
    opening = sentences(readme.read_text(encoding="utf-8"))[:3]
    assert [sentence for sentence in opening if len(words(sentence)) > MOST_WORDS or numbers(sentence)] == []


def test_the_first_screen_of_the_readme_holds_at_most_two_numbers_in_a_hundred_words() -> None:
    """The first hundred words, and all that stands before the commands, tables included."""
    screen = without_code((ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Two commands\n")[0])
    assert "Use it for" in screen
    count = words(screen)
    assert len(numbers(" ".join(count[:100]))) <= MOST_NUMBERS
    assert 100 * len(numbers(screen)) <= MOST_NUMBERS * len(count), f"{numbers(screen)} in {len(count)} words"


def test_the_first_three_sentences_of_the_readme_say_what_one_gets() -> None:
    opening = " ".join(sentences((ROOT / "README.md").read_text(encoding="utf-8"))[:3])
    for promised in ("web agents", "a shop to train in", "libraries", "a laptop"):
        assert promised in " ".join(opening.split())


def test_what_is_no_prose_does_not_count() -> None:
    page = "# Title of a page\n\nOne two. [Three four](five.md) `six seven`!\n\n    code 8 9\n\n```\nmore 10\n```\n\n"
    told = sentences(page + "| a | 11 |\n\n- eight\n- nine ten\n")
    assert told == ["One two.", "Three four code!", "eight", "nine ten"]


def test_a_long_sentence_and_a_number_are_seen() -> None:
    (found,) = sentences("It is 0.5 and\n[+7, or sb3 - or *less*.")
    assert (len(words(found)), numbers(found)) == (9, ["0.5", "[+7,"])
