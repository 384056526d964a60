"""The real-text data set: titles of command-line examples, and the documentation of the operation that each shows.

The texts ship inside `awscli` and the `botocore` it brings (Apache-2.0, extra `documentation`); they are read
from the installed files and never copied. A question is the title of an example, its true source the prose of the
operation that its page is about, and the category is the service. The module knows the layout of these
packages; it knows nothing of embeddings, splits or models.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sightline.jepa.data.building import SteeringTexts
from sightline.jepa.data.keywords import typed_keywords

# Folders of examples that are not named as the service's folder of definitions.
_EXAMPLE_FOLDERS = {"codedeploy": "deploy", "config": "configservice", "s3": "s3api"}
_TITLE = re.compile(r"\*\*(.+?)\*\*:?\s*$")
_FURTHER_TITLE = re.compile(r"Example\s*\d|To ")
_NUMBERING = re.compile(r"Example\s*(\d+\s*[:.]?|:)\s*", re.IGNORECASE)
_BLOCK_TAGS = frozenset({"p", "li", "ul", "ol", "dl", "dd", "dt", "note", "important", "fullname", "br", "div"})


class DocumentationError(ValueError):
    """The installed packages do not hold the documentation where it is expected."""


def load_documentation(
    package: Path | None = None, *, min_characters: int = 80, max_characters: int = 1000
) -> SteeringTexts:
    """Read questions, sources and services from the installed `awscli`.

    Every operation whose prose is longer than `min_characters` is a source, whether or not a question asks for it.
    A title that two services share is two questions with one text: the same words, another service, another answer.
    The category of a question is its answer's service in every pair: an oracle, which a caller would have to know.
    Keywords are free text, made up by `typed_keywords`; the description of a service is its full name and prose.

    Args:
        package: the folder of the package `awscli`; None for the installed one.
        min_characters: shorter prose says too little to be found by ("Lists tags.") and is left out.
        max_characters: prose and descriptions are cut at the last word within this length.

    Raises:
        ImportError: `awscli` is not installed; the message has the command that installs it.
        DocumentationError: its layout is another one.
    """
    examples, definitions = _folders(package)
    services: list[_Service] = []
    sources: list[str] = []
    source_category: list[int] = []
    questions: dict[tuple[str, int], int] = {}
    pairs: set[tuple[int, int]] = set()
    for folder in sorted(path for path in definitions.iterdir() if path.is_dir()):
        service = _read_service(folder, max_characters)
        operations = {name: prose for name, prose in service.operations.items() if len(prose) > min_characters}
        if not operations:
            continue
        category = len(services)
        services.append(service)
        rows = {name: len(sources) + number for number, name in enumerate(operations)}
        sources.extend(operations.values())
        source_category.extend([category] * len(operations))
        for operation, title in _titles(examples / _EXAMPLE_FOLDERS.get(folder.name, folder.name)):
            if operation in rows:
                pairs.add((questions.setdefault((title, category), len(questions)), rows[operation]))
    if not pairs:
        raise DocumentationError(f"no example under {examples} is of an operation that {definitions} describes")
    titles = tuple(title for title, _ in questions)
    question_category = np.array([category for _, category in questions], dtype=np.int64)
    descriptions = tuple(service.description for service in services)
    return SteeringTexts(
        questions=titles,
        sources=tuple(sources),
        pairs=np.array(sorted(pairs), dtype=np.int64),
        question_category=question_category,
        source_category=np.array(source_category, dtype=np.int64),
        names=tuple(service.name for service in services),
        descriptions=descriptions,
        keywords=typed_keywords(titles, question_category, descriptions),
    )


def plain_text(html: str, max_characters: int) -> str:
    """Return the words of an HTML fragment, one space between them, cut at the last within `max_characters`."""
    reader = _TextReader()
    reader.feed(html)
    reader.close()
    return cut(" ".join("".join(reader.parts).split()), max_characters)


class _TextReader(HTMLParser):
    """Collects the text of a fragment; tags that end a block separate words, others do not."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCK_TAGS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCK_TAGS:
            self.parts.append(" ")


def example_titles(page: str) -> list[str]:
    """Return the titles of the examples on a page, in their order, without numbering, type marks and full stop.

    The first line may be a title of any form in bold type; further ones are those that are numbered or begin with "To",
    because bold type also marks notes. Titles of a single word say nothing.
    """
    lines = [line.strip() for line in page.splitlines() if line.strip()]
    titles: dict[str, None] = {}
    for number, line in enumerate(lines):
        match = _TITLE.match(line)
        if match is None or (number > 0 and not _FURTHER_TITLE.match(match[1])):
            continue
        words = _NUMBERING.sub("", match[1].replace("`", "").strip()).rstrip(" .:").split()
        if len(words) > 1:
            titles[" ".join(words)] = None
    return list(titles)


def _titles(folder: Path) -> list[tuple[str, str]]:
    """Return pairs (operation in lower case, title) of every page in a folder; none if there is no such folder."""
    pages = [(page.stem.replace("-", ""), page.read_text("utf-8")) for page in sorted(folder.glob("*.rst"))]
    return [(operation, title) for operation, page in pages for title in example_titles(page)]


@dataclass(frozen=True, slots=True)
class _Service:
    """One service: its texts, and the prose of its operations by their names in lower case."""

    name: str
    description: str
    operations: dict[str, str]


def _read_service(folder: Path, max_characters: int) -> _Service:
    """Read the definition of a service in its latest version; versions are named by their dates."""
    try:
        definition = json.loads(max(folder.glob("*/service-2.json")).read_bytes())
        metadata = definition["metadata"]
        prose = plain_text(definition.get("documentation", ""), max_characters)
        return _Service(
            name=folder.name,
            description=cut(f"{metadata['serviceFullName']}. {prose}", max_characters),
            operations={
                name.lower(): plain_text(operation.get("documentation", ""), max_characters)
                for name, operation in definition["operations"].items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DocumentationError(f"{folder}: no service-2.json of the expected form in it ({error!r})") from error


def _folders(package: Path | None) -> tuple[Path, Path]:
    """Find where the examples and the definitions are; older `awscli` has `botocore` beside it, not inside."""
    root = package or _package_folder("awscli")
    if root is None:
        raise ImportError("the documentation data set needs awscli: pip install 'sightline-jepa[documentation]'")
    for home in (root / "botocore", _package_folder("botocore")):
        if home is not None and (root / "examples").is_dir() and (home / "data").is_dir():
            return root / "examples", home / "data"
    raise DocumentationError(f"{root} holds no examples with definitions of services; install awscli 1.40 or later")


def _package_folder(name: str) -> Path | None:
    """Find the folder of an installed package, which is not imported; None where there is none."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def cut(text: str, max_characters: int) -> str:
    """Return a text without what follows the last word within `max_characters`."""
    if len(text) <= max_characters:
        return text
    return text[: max_characters + 1].rsplit(" ", 1)[0][:max_characters]
