"""What a cross-encoder is worth: its own order of the best sources, and an adapter that learns from its scores.

The first is the bound from above of what the second can learn, and far too slow for a whole corpus. The second costs
what any adapter does once it is trained, and validation may choose that the teacher counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from scipy import sparse

from experiments.steering.cross_encoder import CROSS, Lessons, lessons_stages, read_lessons
from experiments.steering.data import Data
from experiments.steering.settings import SteeringSettings
from experiments.steering.tuned_encoder import SOFT, WITH_BM25
from lab.run import RunDirectory
from sightline.jepa import SteeringDataset, fit_adapter
from sightline.jepa.baselines import TeacherScores, best_on_validation
from sightline.jepa.ranking import Method, of_fixed_vectors

DISTILLED: Final = "adapter, distilled"
DISTILLED_WITH_BM25: Final = DISTILLED + SOFT + WITH_BM25
_SHARES: Final = (0.3, 0.7)
_TEMPERATURES: Final = (1.0, 3.0)
_WEIGHTS: Final = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)  # of logits, beside cosines
_PLACE: Final = 2.0  # what a place in the order is worth: as much as cosines can differ


def distilled_methods(settings: SteeringSettings) -> tuple[str, ...]:
    """Return the names of the rows that a run has.

    The cross-encoder's order alone; its scores added to those of the adapter whose best it reads, with a soft filter by
    the category and BM25; the adapter that it has taught, likewise.
    """
    if not settings.distillation.epochs:
        return ()
    added = _added(settings) + SOFT
    return (_reordered(settings), added, added + WITH_BM25, DISTILLED + SOFT, DISTILLED_WITH_BM25)


def distilled_method(
    settings: SteeringSettings,
    run: RunDirectory,
    data: Data,
    name: str,
    seed: int,
    unsteered: Callable[[int], Method],
) -> Method:
    """Return a method of `distilled_methods` without a soft filter or BM25, after stages of its own.

    Args:
        settings: settings of the run.
        run: folder of the run.
        data: data set.
        name: name of the method.
        seed: seed of the cross-encoder and of the adapters.
        unsteered: function from a seed to its adapter, trained without steering.
    """
    lessons = read_lessons(lessons_stages(settings, run, data, seed, partial(unsteered, seed)))
    adapter = unsteered(seed)
    if name == DISTILLED:
        return _taught(settings, data.dataset, seed, lessons, adapter)
    if name == _reordered(settings):
        places = lessons.best_scores.argsort(axis=1).argsort(axis=1)
        return reranked(adapter, lessons._replace(best_scores=places.astype(np.float32)), _PLACE)
    return best_on_validation(data.dataset, [reranked(adapter, lessons, weight) for weight in _WEIGHTS], "none")


def reranked(method: Method, lessons: Lessons, weight: float) -> Method:
    """Return a method that adds a multiple of the scores of each question's best sources, which stay the best.

    Args:
        method: method that found the best without steering; a soft filter on top may bring others forward.
        lessons: scores.
        weight: factor of the scores, whose least is taken for 0 with every question.
    """
    found = np.float32(weight) * (lessons.best_scores - lessons.best_scores.min(axis=1, keepdims=True))
    rows = np.repeat(lessons.questions, lessons.best.shape[1])
    shape = (int(lessons.questions.max()) + 1, len(method.sources))
    bonus = sparse.csr_matrix((found.astype(np.float32).ravel(), (rows, lessons.best.ravel())), shape=shape)
    corpus = sparse.identity(len(method.sources), dtype=np.float32, format="csr")
    settings = {**method.settings, "cross_encoder": weight}
    return replace(method, settings=settings, added=of_fixed_vectors(CROSS, corpus, bonus))


def _taught(
    settings: SteeringSettings, dataset: SteeringDataset, seed: int, lessons: Lessons, adapter: Method
) -> Method:
    """Return the adapter with that share and temperature of the teacher which validation prefers, or without any."""
    (plain,) = settings.adapter_grid(adapter.settings)
    grid = (
        plain,
        *(replace(plain, taught=share, teacher_temperature=each) for share in _SHARES for each in _TEMPERATURES),
    )
    teacher = TeacherScores(lessons.candidates, lessons.scores)
    return fit_adapter(dataset, seed, kind="none", grid=grid, teacher=teacher)


def _reordered(settings: SteeringSettings) -> str:
    return f"{CROSS} re-ranks {settings.distillation.reranked}"


def _added(settings: SteeringSettings) -> str:
    return f"{CROSS} added to {settings.distillation.reranked}"
