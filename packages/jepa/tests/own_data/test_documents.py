from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.own_data.documents import read_documents, sections
from sightline.jepa.own_data.records import OwnDataError

BODY = "This paragraph has words enough to be found."


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_headings_are_questions_sections_are_sources_and_folders_are_categories(tmp_path: Path):
    write(
        tmp_path / "billing" / "refunds.md", f"# Refunds\n\n{BODY}\n\n## How long it takes ##\n\nTen\ndays at most.\n"
    )
    write(tmp_path / "billing" / "old" / "notes.txt", f"A short first line\n\n{BODY}\n")
    write(tmp_path / "setup.rst", f"Setting up\n==========\n\n{BODY}\n\nOn a boat\n---------\n\n{BODY} Ahoy.\n")
    pairs = read_documents(tmp_path)
    assert [(pair.category, pair.question, pair.source, pair.id) for pair in pairs] == [
        ("billing", "A short first line", BODY, "billing/old/notes.txt#1"),
        ("billing", "Refunds", BODY, "billing/refunds.md#1"),
        ("billing", "Refunds: How long it takes", "Ten days at most.", "billing/refunds.md#2"),
        ("general", "Setting up", BODY, "setup.rst#1"),
        ("general", "Setting up: On a boat", f"{BODY} Ahoy.", "setup.rst#2"),
    ]


def test_code_is_text_and_not_a_heading():
    found = sections("# Title\n\n```sh\n# no heading\nrun it\n```\n", "stem")
    assert found[-1] == ("Title", ["# no heading run it"])


def test_a_text_without_headings_is_asked_for_by_its_first_line_or_its_files_name():
    assert sections(f"Kites\n\n{BODY}", "my-file_name") == [("Kites", [BODY])]
    assert sections("long " * 100, "my-file_name") == [("my file name", [("long " * 100).strip()])]


def test_long_sections_are_several_sources_and_short_ones_none(tmp_path: Path):
    write(tmp_path / "a" / "long.md", "# Long\n\n" + "\n\n".join(["word " * 100] * 6) + "\n\n# Short\n\nToo few.\n")
    pairs = read_documents(tmp_path)
    assert {pair.question for pair in pairs} == {"Long"}
    assert len(pairs) == 3
    assert all(len(pair.source) <= 1200 for pair in pairs)
    assert sum(pair.source.count("word") for pair in pairs) == 600


def test_what_cannot_be_read_is_named(tmp_path: Path):
    write(tmp_path / "a" / "good.md", f"# Good\n\n{BODY}")
    (tmp_path / "a" / "bad.md").write_bytes(b"# Caf\xe9")
    with pytest.raises(OwnDataError, match=r"bad\.md: not UTF-8 at byte 5"):
        read_documents(tmp_path)


def test_a_folder_without_documents_is_refused(tmp_path: Path):
    write(tmp_path / "a" / "picture.png", "x")
    with pytest.raises(OwnDataError, match="no document"):
        read_documents(tmp_path)


def test_hidden_files_and_links_out_of_the_folder_are_left_out(tmp_path: Path):
    write(tmp_path / "secret.md", f"# Secret\n\n{BODY}")
    write(tmp_path / "in" / "a" / "good.md", f"# Good\n\n{BODY}")
    write(tmp_path / "in" / ".git" / "hidden.md", f"# Hidden\n\n{BODY}")
    (tmp_path / "in" / "a" / "link.md").symlink_to(tmp_path / "secret.md")
    assert {pair.question for pair in read_documents(tmp_path / "in")} == {"Good"}


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_gives_questions_on_one_line(text: str):
    for question, paragraphs in sections(text, "stem"):
        assert question == " ".join(question.split())
        assert question
        assert all(paragraph == " ".join(paragraph.split()) for paragraph in paragraphs)
