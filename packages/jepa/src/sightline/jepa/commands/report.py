"""What the validation questions say of a trained answerer: routing, decisions, and explanations to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from sightline.jepa.asking.answer import Answer
from sightline.jepa.asking.answerer import Answerer
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.explanation import write_explanations
from sightline.jepa.files import atomic_file
from sightline.jepa.training import TrainingResult

_MOST_QUESTIONS: Final = 200
_PAGES: Final = 5
_CAUTION: Final = (
    "The epoch, the weight of shared words and the probabilities were chosen on these questions: the figures are "
    "optimistic."
)
HEADINGS: Final = "The questions were made from headings, so these figures hold for questions that are like headings."


def write_validation_report(
    folder: Path,
    answerer: Answerer,
    dataset: SteeringDataset,
    result: TrainingResult,
    *,
    from_headings: bool,
    encoders: Mapping[str, float],
) -> None:
    """Write `validation.json`, explanations of validation questions (`explanations.jsonl`), and some as pages.

    Each question is asked without steering and, where it has one, with its category. These questions chose the epoch
    and taught the probabilities, so the figures are optimistic. `mean_reciprocal_rank` is the model's, without words.

    Args:
        folder: the run's folder.
        answerer: what was trained.
        dataset: the data, with its texts.
        result: the history of the training.
        from_headings: whether the questions were made from headings.
        encoders: encoder -> MRR of the answers that it leads to, for each that was tried.
    """
    questions = dataset.queries("validation")[:_MOST_QUESTIONS]
    categories = np.asarray(dataset.question_category[questions])
    texts = [dataset.question_texts[question] for question in questions]
    steered = [dataset.names[category] if category >= 0 else None for category in categories]
    relevant = dataset.relevant(questions)
    asked = {"none": [None] * len(texts), "category": steered}
    answers = {mode: answerer.ask_batch(texts, categories=given) for mode, given in asked.items()}
    found: dict[str, Any] = {
        "caution": " ".join([_CAUTION, *([HEADINGS] if from_headings else [])]),
        "questions": len(texts),
        "encoder": dataset.encoder,
        "encoders": dict(encoders),
        "best_epoch": result.best_epoch,
        "kept": result.kept,
        "candidates": dict(result.candidates),
        "mean_reciprocal_rank": result.history[result.best_epoch].validation,
        "shared_words": None if answerer.shared_words is None else answerer.shared_words.model_dump(),
        "asked": {mode: _summary(found, dataset, relevant) for mode, found in answers.items()},
    }
    with atomic_file(folder / "validation.json") as file:
        file.write(json.dumps(found, indent=1).encode() + b"\n")
    write_explanations(
        folder / "explanations.jsonl", [answer.explanation for mode in answers.values() for answer in mode]
    )
    for number, answer in enumerate(answers["category"][:_PAGES]):
        with atomic_file(folder / "pages" / f"question-{number}.html") as file:
            file.write(answer.page(HEADINGS if from_headings else "").encode())


def _summary(answers: list[Answer], dataset: SteeringDataset, relevant: list[np.ndarray]) -> dict[str, Any]:
    """Return how often first sources and areas were right, how spread the routing was, and what was decided."""
    explained = [answer.explanation for answer in answers]
    right = [e.results[0].source in true for e, true in zip(explained, relevant, strict=True)]
    area = [
        e.primary_subspace in {dataset.names[category] for category in dataset.source_category[true]}
        for e, true in zip(explained, relevant, strict=True)
    ]
    return {
        "first_right": float(np.mean(right)),
        "mean_confidence": float(np.mean([e.confidence for e in explained])),
        "routing_accuracy": float(np.mean(area)),
        "routing_entropy": float(np.mean([e.routing_entropy for e in explained])),
        "decisions": dict(Counter(answer.decision.value for answer in answers)),
    }
