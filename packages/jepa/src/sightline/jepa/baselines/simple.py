"""What a steered predictor has to beat: simple methods with the same inputs, their knobs tuned on validation MRR.

Every `fit_*` has the form `fit(dataset, seed) -> Method`; a hard filter by category goes with any of them at
evaluation. `BASELINES` names them all. The module knows the data set and how methods are evaluated; it knows nothing of
the predictor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.baselines.adapter import fit_adapter
from sightline.jepa.data.dataset import Ids, SteeringDataset, Vectors, unit
from sightline.jepa.data.splits import TRAIN
from sightline.jepa.data.steering import Steering, SteeringKind, steering, unreliable_steering
from sightline.jepa.ranking.evaluation import Method, evaluate, of_fixed_vectors
from sightline.jepa.ranking.fusion import bm25, fit_lexical_index, texts_of

Fit: TypeAlias = Callable[[SteeringDataset, int], Method]

_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_BONUSES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5)


def fit_cosine(dataset: SteeringDataset, seed: int) -> Method:
    """Return the frozen encoder alone: the question's own vector, no steering, nothing fitted."""
    del seed
    return of_fixed_vectors("cosine", np.asarray(dataset.sources), dataset.questions)


def fit_rocchio(dataset: SteeringDataset, seed: int, *, kind: SteeringKind = "category") -> Method:
    """Fit `unit(q + a s)`: the question moved towards what steers it (Rocchio 1971, with one relevant "document").

    Args:
        dataset: the data.
        seed: not used; nothing is drawn.
        kind: the steering that `a` is tuned for.
    """
    del seed

    def method(weight: float) -> Method:
        def query_vectors(question_ids: Ids, steered: Steering) -> Vectors:
            return unit(dataset.questions[question_ids] + np.float32(weight) * steered.vectors)

        return Method(f"Rocchio ({kind})", np.asarray(dataset.sources), query_vectors, {"weight": weight})

    return best_on_validation(dataset, [method(weight) for weight in _WEIGHTS], kind)


def fit_ridge(dataset: SteeringDataset, seed: int, *, kind: SteeringKind = "category") -> Method:
    """Fit `unit(q + [q, s] W)` with W the ridge regression of `source - q` (Hoerl and Kennard 1970).

    Args:
        dataset: the data.
        seed: not used; nothing is drawn.
        kind: the steering it is fitted and tuned with.
    """
    del seed
    questions, targets = dataset.pairs[dataset.pair_split == TRAIN].T
    inputs = _inputs(dataset, questions, steering(dataset, questions, kind))
    gram = inputs.T @ inputs
    moment = inputs.T @ (dataset.sources[targets] - dataset.questions[questions]).astype(np.float64)

    def method(penalty: float) -> Method:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), moment)

        def query_vectors(question_ids: Ids, steered: Steering) -> Vectors:
            return unit(dataset.questions[question_ids] + _inputs(dataset, question_ids, steered) @ weights)

        return Method(f"ridge ({kind})", np.asarray(dataset.sources), query_vectors, {"penalty": penalty})

    return best_on_validation(dataset, [method(penalty) for penalty in _PENALTIES], kind)


def fit_tf_idf(dataset: SteeringDataset, seed: int) -> Method:
    """Fit the cosine of sparse TF-IDF vectors of the texts, with or without pairs of words; no steering.

    Raises:
        ValueError: the data set has no texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    del seed
    questions, sources = texts_of(dataset)

    def method(longest: int) -> Method:
        vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, longest), dtype=np.float32)
        matrix = vectorizer.fit_transform(sources)
        return of_fixed_vectors("TF-IDF", matrix, vectorizer.transform(questions), {"longest_term": longest})

    return best_on_validation(dataset, [method(longest) for longest in (1, 2)], "none")


def fit_bm25(dataset: SteeringDataset, seed: int) -> Method:
    """Fit BM25 on the texts, with k1 and b tuned; no steering.

    Raises:
        ValueError: the data set has no texts.
    """
    del seed
    return bm25(fit_lexical_index(dataset), dataset)


def softly_filtered(method: Method, dataset: SteeringDataset, *, unreliable_share: float = 0.3) -> Method:
    """Return a method whose sources gain a bonus if they are of the category that the steering is nearest to.

    The bonus has the highest mean validation MRR of three modes: no steering, the category, and unreliable categories.
    An infinite one would be the hard filter. It costs K more coordinates, one-hot in the sources.

    Args:
        method: method with dense vectors of unit length.
        dataset: the data.
        unreliable_share: share of wrong or missing categories in the last mode.
    """
    one_hot = np.eye(len(dataset.names), dtype=np.float32)
    sources = np.concatenate([method.sources, one_hot[dataset.source_category]], axis=1)
    questions = dataset.queries("validation")
    modes = (
        steering(dataset, questions, "none"),
        steering(dataset, questions, "category"),
        unreliable_steering(dataset, questions, unreliable_share),
    )

    def candidate(bonus: float) -> Method:
        def query_vectors(question_ids: Ids, steered: Steering) -> Vectors:
            nearest = (steered.vectors @ dataset.category_vectors.T).argmax(axis=1)
            added = bonus * one_hot[nearest] * steered.has_steering[:, None]
            return np.concatenate([method.query_vectors(question_ids, steered), added], axis=1).astype(np.float32)

        settings = {**method.settings, "bonus": bonus}
        name = f"{method.name}, soft filter"
        return replace(method, name=name, sources=sources, query_vectors=query_vectors, settings=settings)

    def score(found: Method) -> float:
        return float(np.mean([evaluate(found, dataset, questions, mode).reciprocal_rank.mean() for mode in modes]))

    return max(map(candidate, _BONUSES), key=score)


def best_on_validation(dataset: SteeringDataset, candidates: Sequence[Method], kind: SteeringKind) -> Method:
    """Return the candidate with the highest MRR on validation questions under this steering; the first of equals."""
    questions = dataset.queries("validation")
    steered = steering(dataset, questions, kind)
    scores = [evaluate(method, dataset, questions, steered).reciprocal_rank.mean() for method in candidates]
    return candidates[int(np.argmax(scores))]


def fit_soft_filter(dataset: SteeringDataset, seed: int) -> Method:
    """Fit the unsteered adapter, `softly_filtered`."""
    return softly_filtered(fit_adapter(dataset, seed, kind="none"), dataset)


def _inputs(dataset: SteeringDataset, question_ids: Ids, steered: Steering) -> NDArray[np.float64]:
    """Return `[B, 2D]`: questions beside their steering, zeros where none is given."""
    return np.concatenate([dataset.questions[question_ids], steered.vectors], axis=1).astype(np.float64)


BASELINES: Mapping[str, Fit] = MappingProxyType(
    {
        "TF-IDF": fit_tf_idf,
        "BM25": fit_bm25,
        "cosine": fit_cosine,
        "Rocchio": fit_rocchio,
        "ridge, unsteered": partial(fit_ridge, kind="none"),
        "ridge, steered": fit_ridge,
        "adapter, unsteered": partial(fit_adapter, kind="none"),
        "adapter, steered": fit_adapter,
        "adapter, steered half the time": partial(fit_adapter, withheld=0.5),
        "adapter, soft filter": fit_soft_filter,
    }
)
"""Every baseline by its name in tables; those that are steered are fitted for steering by category."""
