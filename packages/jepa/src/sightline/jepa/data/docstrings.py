"""A real-text data set that needs no download: what the standard library of Python says about itself.

A question is the summary line of a docstring, its true source the rest of that docstring, and the category is the
module. The texts are read from the installed source files, which are parsed and never executed. The module
knows the layout of the standard library; it knows nothing of embeddings, splits or models.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from sightline.jepa.data.building import SteeringTexts
from sightline.jepa.data.documentation import DocumentationError, cut
from sightline.jepa.data.keywords import typed_keywords

# PEP 594, PEP 632 and others took these out of 3.12 or 3.13, and all versions shall share their modules.
_GONE: Final = """aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib
    nntplib pipes smtpd sndhdr sunau telnetlib uu xdrlib"""
# These are often packaged apart, or are not prose of the library.
_APART: Final = "ensurepip idlelib test this tkinter turtle turtledemo venv"
_LEAST_WORDS: Final = 3
_LONGEST_SUMMARY: Final = 200


def load_docstrings(
    library: Path | None = None, *, min_pairs: int = 5, min_characters: int = 40, max_characters: int = 1000
) -> SteeringTexts:
    """Read questions, sources and modules from the installed standard library.

    Every public function, class and method whose docstring has a summary line and a body is a pair. A summary that two
    modules share is two questions with one text. The category of a question is its answer's module: an oracle, which
    a caller would have to know. Keywords are made up by `typed_keywords`.

    What is read depends on the version of Python: docstrings are edited, and functions come and go. Python 3.11.7 gives
    the figures of the README. Modules that one of 3.11 to 3.13 lacks are left out, and so are those often packaged
    apart.

    Args:
        library: folder of the standard library; None for that of the running Python.
        min_pairs: modules with fewer pairs are left out.
        min_characters: shorter bodies say too little to be found by.
        max_characters: bodies and descriptions are cut at the last word within this length.

    Raises:
        DocumentationError: the folder holds no docstrings, as where Python is installed without its sources.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if library is None else library
    modules: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for name in sorted(sys.stdlib_module_names - {*_GONE.split(), *_APART.split()}):
        if name.startswith("_"):
            continue
        description, pairs = _read_module(root, name, min_characters, max_characters)
        if len(pairs) >= min_pairs:
            modules[name] = description, pairs
    if not modules:
        raise DocumentationError(f"no source file under {root} has docstrings; give the folder of a full installation")
    questions: dict[tuple[str, int], int] = {}
    sources: dict[tuple[str, int], int] = {}
    answered: dict[tuple[int, int], None] = {}
    for category, (_, pairs) in enumerate(modules.values()):
        for summary, body in pairs:
            question = questions.setdefault((summary, category), len(questions))
            answered[question, sources.setdefault((body, category), len(sources))] = None
    question_category = np.array([category for _, category in questions], dtype=np.int64)
    descriptions = tuple(description for description, _ in modules.values())
    texts = tuple(summary for summary, _ in questions)
    return SteeringTexts(
        questions=texts,
        sources=tuple(body for body, _ in sources),
        pairs=np.array(list(answered), dtype=np.int64),
        question_category=question_category,
        source_category=np.array([category for _, category in sources], dtype=np.int64),
        names=tuple(modules),
        descriptions=descriptions,
        keywords=typed_keywords(texts, question_category, descriptions),
    )


def _read_module(root: Path, name: str, min_characters: int, max_characters: int) -> tuple[str, list[tuple[str, str]]]:
    """Return what a top-level module or package says it is, and its pairs of summary and body."""
    description, pairs = name, []
    for file in _files(root, name):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # templates and files of other versions, which some distributions add
            continue
        about = ast.get_docstring(tree)
        if about and description == name:
            description = cut(f"{name}. {' '.join(about.split())}", max_characters)
        for docstring in _public_docstrings(tree):
            summary, _, body = (" ".join(part.split()) for part in docstring.partition("\n\n"))
            if len(summary.split()) >= _LEAST_WORDS and len(summary) <= _LONGEST_SUMMARY and len(body) > min_characters:
                pairs.append((summary.rstrip("."), cut(body, max_characters)))
    return description, pairs


def _files(root: Path, name: str) -> list[Path]:
    """Return the source files of a module, the first being the one that describes it; none if it is compiled."""
    if (root / f"{name}.py").is_file():
        return [root / f"{name}.py"]
    files = sorted((root / name).rglob("*.py"), key=lambda file: (file.name != "__init__.py", file))
    hidden = {"test", "tests", "__pycache__"}
    return [file for file in files if not hidden & set(file.relative_to(root).parts)]


def _public_docstrings(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the docstrings of public definitions, in their order; what is nested in functions is not public."""
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        docstring = ast.get_docstring(child)
        if docstring:
            yield docstring
        if isinstance(child, ast.ClassDef):
            yield from _public_docstrings(child)
