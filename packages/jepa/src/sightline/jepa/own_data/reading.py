"""From own pairs or documents to the texts of a data set, with the names of sources and what categories are about."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sightline.jepa.data.building import SteeringTexts
from sightline.jepa.data.keywords import typed_keywords
from sightline.jepa.own_data.documents import read_documents
from sightline.jepa.own_data.records import UNFILED, OwnDataError, OwnPair, read_pairs, refuse

DESCRIPTIONS: Final = "categories.json"
"""File beside the data that says what categories are about, name by name."""
_TERMS: Final = 8


@dataclass(frozen=True, slots=True)
class OwnData:
    """What was read."""

    texts: SteeringTexts
    """Texts of a data set."""
    source_ids: tuple[str, ...]
    """`S` names of the sources."""
    from_headings: bool
    """Whether the questions were made of headings, and keywords made up."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        texts = self.texts
        parts = [texts.questions, texts.sources, texts.names, texts.descriptions, texts.keywords, self.source_ids]
        numbers = [texts.pairs.tolist(), texts.question_category.tolist(), texts.source_category.tolist()]
        return hashlib.sha256(json.dumps([parts, numbers]).encode()).hexdigest()


def read_own_data(path: Path) -> OwnData:
    """Read a file of pairs, a folder with such files (`*.jsonl`), or else a folder of documents.

    What a category is about is its name and the words that tell its sources from others', unless a file
    `categories.json` in the folder says better: one JSON object from names to descriptions.

    Raises:
        FileNotFoundError: there is nothing at the path.
        OwnDataError: something cannot be read, or there is no pair; the message says what and where.
    """
    if path.is_file():
        return _own_data(read_pairs(path), {}, from_headings=False)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not there; give a .jsonl file, or a folder of such files or of documents")
    told = _descriptions(path / DESCRIPTIONS)
    files = sorted(path.glob("*.jsonl"))
    if files:
        return _own_data([pair for file in files for pair in read_pairs(file)], told, from_headings=False)
    return _own_data(read_documents(path), told, from_headings=True)


def _own_data(pairs: Sequence[OwnPair], told: dict[str, str], *, from_headings: bool) -> OwnData:
    names = tuple(sorted({pair.category or UNFILED for pair in pairs}))
    number = {name: place for place, name in enumerate(names)}
    sources: dict[tuple[str, str], int] = {}
    ids: list[str] = []
    questions: dict[tuple[str, str | None, str], int] = {}
    answered: dict[tuple[int, int], None] = {}
    for pair in pairs:
        key = (pair.source, pair.category or UNFILED)
        if key not in sources:
            sources[key] = len(sources)
            ids.append(pair.id or f"source-{len(ids)}")
        if pair.question is not None:
            question = questions.setdefault((pair.question, pair.category, pair.keywords), len(questions))
            answered[question, sources[key]] = None
    if not answered:
        refuse(["no line has a question, so there is nothing to learn from"])
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    refuse([f"two sources have the id {name[:80]!r}; ids must differ" for name in twice])
    texts = tuple(text for text, _ in sources)
    source_category = np.array([number[category] for _, category in sources], dtype=np.int64)
    asked = tuple(question for question, _, _ in questions)
    question_category = np.array([number[area] if area else -1 for _, area, _ in questions], dtype=np.int64)
    descriptions = tuple(
        told.get(name) or about for name, about in zip(names, _about(names, texts, source_category), strict=True)
    )
    keywords = tuple(typed for _, _, typed in questions)
    return OwnData(
        SteeringTexts(
            questions=asked,
            sources=texts,
            pairs=np.array(list(answered), dtype=np.int64),
            question_category=question_category,
            source_category=source_category,
            names=names,
            descriptions=descriptions,
            keywords=typed_keywords(asked, question_category, descriptions) if from_headings else keywords,
        ),
        tuple(ids),
        from_headings,
    )


def _about(names: Sequence[str], texts: Sequence[str], category: np.ndarray) -> list[str]:
    """Return the name of each category with the terms that tell its sources from the others'."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    whole = [" ".join(text for text, own in zip(texts, category, strict=True) if own == k) for k in range(len(names))]
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d_]{3,}\b")
    try:
        weights = vectorizer.fit_transform(whole).toarray()
    except ValueError:  # no text has a word that says something
        return list(names)
    terms = vectorizer.get_feature_names_out()
    found = []
    for name, row in zip(names, weights, strict=True):
        best = [terms[place] for place in np.argsort(-row, kind="stable")[:_TERMS] if row[place] > 0]
        found.append(f"{name.replace('-', ' ').replace('_', ' ')}. {' '.join(best)}".rstrip(". "))
    return found


def _descriptions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_bytes())
    except ValueError as error:
        raise OwnDataError(f"{path}: not JSON: {error}") from error
    if not isinstance(told, dict) or not all(isinstance(text, str) and text.strip() for text in told.values()):
        raise OwnDataError(f"{path}: must be one object from names of categories to descriptions")
    return told
