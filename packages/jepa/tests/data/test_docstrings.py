from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.jepa.data.docstrings import load_docstrings
from sightline.jepa.data.documentation import DocumentationError

MODULE = '''"""Work with {name}."""


def first():
    """Return the first of {name}.

    This body is long enough to be found by, and it names {name} as well.
    """
    def nested():
        """Hide within a function.

        This body is long enough to be found by, but nobody can call it.
        """


class Whole:
    """Hold all of the things.

    This body is long enough to be found by, and it stands in every module.
    """

    async def method(self):
        """Return after a while.

        {long}
        """

    def brief(self):
        """Say little here.

        Too short.
        """

    def _private(self):
        """Do what nobody asks.

        This body is long enough to be found by, but its name is private.
        """
'''


def write(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODULE.format(name=path.stem, long="word " * 400))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name in ("json/__init__.py", "json/tests/helper.py", "shelve.py", "telnetlib.py", "_strptime.py", "mine.py"):
        write(tmp_path, name)
    (tmp_path / "csv.py").write_text("this is not Python")
    return tmp_path


def test_summaries_are_paired_with_the_rest_of_public_docstrings(library: Path) -> None:
    texts = load_docstrings(library, min_pairs=3)
    assert texts.names == ("json", "shelve")  # not what some version lacks, is private, or is not of the library
    assert texts.descriptions == ("json. Work with __init__.", "shelve. Work with shelve.")
    said = [(texts.questions[question], texts.sources[source][:30]) for question, source in texts.pairs]
    assert said[3:] == [
        ("Return the first of shelve", "This body is long enough to be"),
        ("Hold all of the things", "This body is long enough to be"),
        ("Return after a while", "word word word word word word "),
    ]
    assert max(map(len, texts.sources)) <= 1000


def test_one_summary_in_two_modules_is_two_questions_with_answers_of_their_own(library: Path) -> None:
    texts = load_docstrings(library, min_pairs=3)
    same = [row for row, question in enumerate(texts.questions) if question == "Hold all of the things"]
    assert [texts.names[texts.question_category[row]] for row in same] == ["json", "shelve"]
    answers = [texts.pairs[texts.pairs[:, 0] == row, 1] for row in same]
    assert [texts.names[texts.source_category[answer[0]]] for answer in answers] == ["json", "shelve"]


def test_modules_with_few_pairs_are_left_out(library: Path) -> None:
    with pytest.raises(DocumentationError, match="has docstrings"):
        load_docstrings(library, min_pairs=4)


def test_the_installed_library_holds_what_the_readme_says() -> None:
    texts = load_docstrings()
    assert 1200 < len(texts.pairs) < 2200  # versions differ by some dozens
    assert 55 < len(texts.names) < 90
    own = texts.source_category[texts.pairs[:, 1]]
    assert np.array_equal(texts.question_category[texts.pairs[:, 0]], own)
    assert {"asyncio", "http", "statistics"} <= set(texts.names)
    assert len(set(texts.keywords)) > 1000
