from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sightline.jepa.data import documentation as module
from sightline.jepa.data.documentation import DocumentationError, example_titles, load_documentation, plain_text
from sightline.jepa.data.keywords import typed_keywords

_PROSE = "<p>{} with a <i>sentence</i> that is long enough to be found by, as one of only four letters is not.</p>"


def _define(package: Path, service: str, version: str, operations: Mapping[str, str], **metadata: str) -> None:
    folder = package / "botocore" / "data" / service / version
    folder.mkdir(parents=True)
    definition = {
        "metadata": {"serviceFullName": f"Amazon {service}", **metadata},
        "documentation": f"<fullname>{service}</fullname><p>Serves {service}.</p>",
        "operations": {"Undocumented": {}, **{name: {"documentation": text} for name, text in operations.items()}},
    }
    (folder / "service-2.json").write_text(json.dumps(definition))


def _example(package: Path, folder: str, operation: str, page: str) -> None:
    path = package / "examples" / folder / f"{operation}.rst"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two services in the layout of ``awscli``, one of them with its examples in a folder of another name."""
    root = tmp_path / "awscli"
    _define(root, "ec2", "2015-01-01", {"ListImages": _PROSE.format("Outdated")})
    _define(root, "ec2", "2016-11-15", {"ListImages": _PROSE.format("Lists images"), "ListTags": "<p>Lists tags.</p>"})
    s3 = {name: _PROSE.format(name) for name in ("ListTables", "PutObjectACL")}
    _define(root, "s3", "2006-03-01", s3, serviceAbbreviation="S3")
    _example(root, "ec2", "list-images", "**To list images**\n\ntext\n\n**Example 2: To list ``your`` images.**\n")
    _example(root, "ec2", "list-tags", "**To list tags**\n")
    _example(root, "ec2", "wait", "**To wait for nothing**\n")
    _example(root, "s3api", "put-object-acl", "**To list images**\n")
    _example(root, "s3api", "list-tables", "The following command lists tables::\n")
    return root


def test_titles_are_paired_with_the_prose_of_their_operation(package: Path) -> None:
    texts = load_documentation(package)
    said = [
        (texts.questions[question], texts.names[texts.question_category[question]], texts.sources[source].split()[0])
        for question, source in texts.pairs
    ]
    assert sorted(said) == [
        ("To list images", "ec2", "Lists"),
        ("To list images", "s3", "PutObjectACL"),
        ("To list your images", "ec2", "Lists"),
    ]


def test_every_operation_with_enough_prose_is_a_source_of_its_service(package: Path) -> None:
    texts = load_documentation(package)
    assert [source.split()[0] for source in texts.sources] == ["Lists", "ListTables", "PutObjectACL"]
    assert [texts.names[category] for category in texts.source_category] == ["ec2", "s3", "s3"]


def test_a_service_has_a_description_and_its_questions_have_free_keywords(package: Path) -> None:
    texts = load_documentation(package)
    assert texts.descriptions == ("Amazon ec2. ec2 Serves ec2.", "Amazon s3. s3 Serves s3.")
    assert texts.keywords == typed_keywords(texts.questions, texts.question_category, texts.descriptions)
    assert "Amazon ec2" not in texts.keywords


def test_titles_lose_their_numbers_and_marks() -> None:
    page = (
        "\n**Example 1: To copy an ``AMI``**\n\n"
        "**Note** about it.\n**Important**\n**Example 2: Using it**\n"
        "**To do more:**\n**Example 3**\n**And so on and on**"
    )
    assert example_titles(page) == ["To copy an AMI", "Using it", "To do more"]


def test_a_first_title_may_have_any_form_and_a_page_may_have_none() -> None:
    assert example_titles("**Copying files.**\n\n**Copying more files**\n") == ["Copying files"]
    assert example_titles("The following command::\n\n    aws\n") == []
    assert example_titles("") == []


def test_markup_is_left_out_and_words_stay_apart() -> None:
    html = "<fullname>A&amp;B</fullname><p>One <i>t</i>wo</p><ul><li>three</li><li>four &lt;x&gt;</li></ul>"
    assert plain_text(html, 100) == "A&B One two three four <x>"


@pytest.mark.parametrize(("length", "kept"), [(7, "one two"), (9, "one two"), (13, "one two three"), (2, "on")])
def test_long_text_is_cut_at_a_word(length: int, kept: str) -> None:
    assert plain_text("one two three", length) == kept


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-jepa\[documentation\]'"):
        load_documentation()


def test_definitions_may_lie_in_a_package_of_their_own(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = load_documentation(package)
    (package / "botocore").rename(package.parent / "botocore")
    monkeypatch.setattr(module, "_package_folder", lambda name: package.parent / name)
    assert load_documentation().sources == together.sources


def test_another_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(DocumentationError, match="holds no examples"):
        load_documentation(tmp_path)


def test_a_damaged_definition_is_named(package: Path) -> None:
    (package / "botocore" / "data" / "s3" / "2006-03-01" / "service-2.json").write_text("[]")
    with pytest.raises(DocumentationError, match=r"data/s3: no service-2\.json of the expected form"):
        load_documentation(package)


def test_examples_that_fit_no_operation_are_refused(package: Path) -> None:
    for path in package.rglob("*.rst"):
        path.unlink()
    with pytest.raises(DocumentationError, match="no example under"):
        load_documentation(package)


@pytest.mark.slow
def test_the_installed_documentation_is_of_the_size_that_is_reported() -> None:
    texts = load_documentation()
    assert 4500 < len(texts.pairs) < 5500
    assert 11_000 < len(texts.sources) < 14_000
    assert len(np.unique(texts.question_category)) > 150
    assert max(map(len, texts.sources)) <= 1000
    assert min(map(len, texts.sources)) > 80
