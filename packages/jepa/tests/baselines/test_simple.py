from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sightline.jepa.baselines.adapter import TeacherScores, fit_adapter
from sightline.jepa.baselines.config import AdapterSettings
from sightline.jepa.baselines.simple import (
    BASELINES,
    best_on_validation,
    fit_bm25,
    fit_cosine,
    fit_ridge,
    fit_rocchio,
    fit_tf_idf,
    softly_filtered,
)
from sightline.jepa.data.dataset import SteeringDataset, unit
from sightline.jepa.data.steering import steering
from sightline.jepa.ranking.evaluation import Method, evaluate

_WORDS = (
    *("list", "create", "delete", "table", "bucket", "image", "key", "role"),
    *("queue", "topic", "user", "group", "policy", "event", "stream", "rule"),
)
_QUICK = (
    AdapterSettings(learning_rate=0.02, max_epochs=8),
    AdapterSettings(temperature=0.1, negatives="corpus", learning_rate=0.02, max_epochs=8),
)


@pytest.fixture(scope="module")
def learnable(make_toy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    """A question is its source without what tells the category, linearly mixed."""
    dataset = make_toy_dataset(sources=600)
    rng = np.random.default_rng(0)
    dimension = dataset.sources.shape[1]
    mixing = np.eye(dimension) + rng.normal(size=(dimension, dimension)) / np.sqrt(dimension)
    details = dataset.sources - dataset.centroids[dataset.source_category]
    return replace(dataset, questions=unit(details @ mixing + 0.05 * rng.normal(size=details.shape)))


@pytest.fixture(scope="module")
def worded(learnable: SteeringDataset) -> SteeringDataset:
    """The same with texts: a source has six words and its question two of them."""
    rng = np.random.default_rng(0)
    sources = [rng.choice(_WORDS, size=6) for _ in range(600)]
    questions = tuple(" ".join(words[:2]) + " please" for words in sources)
    return replace(learnable, question_texts=questions, source_texts=tuple(" ".join(words) for words in sources))


def _mrr(dataset: SteeringDataset, method: Method, kind: str = "category", split: str = "test") -> float:
    questions = dataset.queries(split)  # ty: ignore[invalid-argument-type]  # one of the three
    steered = steering(dataset, questions, kind)  # ty: ignore[invalid-argument-type]  # one of the four
    return float(evaluate(method, dataset, questions, steered).reciprocal_rank.mean())


def test_cosine_ranks_by_the_frozen_vectors(learnable: SteeringDataset) -> None:
    questions = learnable.queries("test")
    cosines = learnable.questions[questions] @ learnable.sources.T
    expected = [1 / (1 + (row > row[question]).sum()) for row, question in zip(cosines, questions, strict=True)]
    assert _mrr(learnable, fit_cosine(learnable, 0)) == pytest.approx(np.mean(expected))


def test_rocchio_has_the_best_weight_on_validation_and_is_cosine_without_steering(learnable: SteeringDataset) -> None:
    method = fit_rocchio(learnable, 0)
    weight = method.settings["weight"]
    questions = learnable.queries("validation")

    def score(tried: float) -> float:
        vectors = learnable.questions[questions] + tried * steering(learnable, questions, "category").vectors
        cosines = unit(vectors) @ learnable.sources.T
        return float(np.mean([1 / (row >= row[own]).sum() for row, own in zip(cosines, questions, strict=True)]))

    assert score(weight) == pytest.approx(max(score(tried) for tried in (0.0, 0.2, 0.5, 1.0, weight)), abs=1e-9)
    assert weight > 0
    assert _mrr(learnable, method, "none") == _mrr(learnable, fit_cosine(learnable, 0))


def test_ridge_is_that_of_another_library(learnable: SteeringDataset) -> None:
    method = fit_ridge(learnable, 0)

    def inputs(questions: np.ndarray) -> np.ndarray:
        return np.concatenate([learnable.questions[questions], steering(learnable, questions, "category").vectors], 1)

    training, test = learnable.queries("train"), learnable.queries("test")
    model = Ridge(alpha=method.settings["penalty"], fit_intercept=False, solver="lsqr", tol=1e-10)
    model.fit(inputs(training).astype(np.float64), learnable.sources[training] - learnable.questions[training])
    expected = unit(learnable.questions[test] + model.predict(inputs(test)))
    found = method.query_vectors(test, steering(learnable, test, "category"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ridge_learns_what_cosine_can_not_know(learnable: SteeringDataset) -> None:
    assert _mrr(learnable, fit_ridge(learnable, 0)) > _mrr(learnable, fit_cosine(learnable, 0)) + 0.05


def test_the_adapter_learns_and_steering_helps_it(learnable: SteeringDataset) -> None:
    steered = fit_adapter(learnable, 0, grid=_QUICK)
    unsteered = fit_adapter(learnable, 0, kind="none", grid=_QUICK)
    cosine = _mrr(learnable, fit_cosine(learnable, 0))
    assert _mrr(learnable, unsteered, "none") > cosine + 0.05
    assert _mrr(learnable, steered) > _mrr(learnable, unsteered, "none") + 0.05


def test_an_adapter_that_was_denied_steering_half_the_time_does_better_without(learnable: SteeringDataset) -> None:
    grid = (AdapterSettings(learning_rate=0.02, max_epochs=15, patience=15),)
    always = fit_adapter(learnable, 0, grid=grid)
    half = fit_adapter(learnable, 0, withheld=0.5, grid=grid)
    assert _mrr(learnable, half, "none") > _mrr(learnable, always, "none")


def _teacher(dataset: SteeringDataset, *, wrong: bool) -> TeacherScores:
    """One that is sure of each pair's own source, or of another one."""
    own = dataset.pairs[dataset.pair_split == 0, 1]
    candidates = np.stack([own, np.roll(own, 1), np.roll(own, 2)], axis=1)
    scores = np.tile(np.array([0, 9, 0] if wrong else [9, 0, 0], dtype=np.float32), (len(own), 1))
    return TeacherScores(candidates, scores)


def test_an_adapter_learns_what_its_teacher_believes(learnable: SteeringDataset) -> None:
    own = learnable.pairs[learnable.pair_split == 0]
    grid = (AdapterSettings(learning_rate=0.02, max_epochs=15, patience=15, taught=1.0),)
    right, wrong = (
        fit_adapter(learnable, 0, kind="none", grid=grid, teacher=_teacher(learnable, wrong=each))
        for each in (False, True)
    )
    unsteered = steering(learnable, own[:, 0], "none")
    others = np.roll(own[:, 1], 1)

    def preferring(method: Method) -> float:
        vectors = method.query_vectors(own[:, 0], unsteered)
        own_scores, other_scores = ((vectors * learnable.sources[ids]).sum(axis=1) for ids in (own[:, 1], others))
        return float((own_scores > other_scores).mean())

    assert preferring(right) > preferring(fit_cosine(learnable, 0))
    assert _mrr(learnable, right, "none") > _mrr(learnable, fit_cosine(learnable, 0)) + 0.02
    assert wrong.settings["taught"] == 1.0
    assert _mrr(learnable, wrong, "none") <= _mrr(learnable, fit_cosine(learnable, 0)) + 0.02  # validation stops it


def test_a_teacher_that_counts_for_nothing_changes_no_bit(learnable: SteeringDataset) -> None:
    questions = learnable.queries("test")
    unsteered = steering(learnable, questions, "none")
    plain = fit_adapter(learnable, 0, kind="none", grid=_QUICK)
    taught = fit_adapter(learnable, 0, kind="none", grid=_QUICK, teacher=_teacher(learnable, wrong=True))
    assert np.array_equal(plain.query_vectors(questions, unsteered), taught.query_vectors(questions, unsteered))
    assert plain.settings == taught.settings


def test_validation_chooses_whether_a_teacher_counts(learnable: SteeringDataset) -> None:
    grid = (_QUICK[0], replace(_QUICK[0], taught=0.9))
    misled = fit_adapter(learnable, 0, kind="none", grid=grid, teacher=_teacher(learnable, wrong=True))
    assert "taught" not in misled.settings


def test_a_taught_adapter_needs_a_teacher_of_these_pairs(learnable: SteeringDataset) -> None:
    grid = (AdapterSettings(taught=0.5),)
    with pytest.raises(ValueError, match="there is none"):
        fit_adapter(learnable, 0, grid=grid)
    teacher = _teacher(learnable, wrong=False)
    fewer = TeacherScores(teacher.source_ids[:5], teacher.scores[:5])
    with pytest.raises(ValueError, match="training pairs; it has 5"):
        fit_adapter(learnable, 0, grid=grid, teacher=fewer)


def test_the_same_seed_trains_the_same_adapter(learnable: SteeringDataset) -> None:
    grid = (AdapterSettings(max_epochs=2),)
    questions = learnable.queries("test")
    steered = steering(learnable, questions, "category")
    first, again, other = (fit_adapter(learnable, s, grid=grid).query_vectors(questions, steered) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_the_adapter_keeps_the_setting_that_is_best_on_validation(learnable: SteeringDataset) -> None:
    grid = (AdapterSettings(max_epochs=0), AdapterSettings(temperature=0.1, learning_rate=0.02, max_epochs=10))
    assert fit_adapter(learnable, 0, grid=grid).settings["temperature"] == 0.1
    with pytest.raises(ValueError, match="no settings"):
        fit_adapter(learnable, 0, grid=())


def test_a_soft_filter_helps_where_categories_are_given_and_changes_nothing_where_none_is(
    learnable: SteeringDataset,
) -> None:
    plain = fit_cosine(learnable, 0)
    soft = softly_filtered(plain, learnable)
    assert soft.settings["bonus"] > 0
    assert _mrr(learnable, soft) > _mrr(learnable, plain) + 0.05
    assert _mrr(learnable, soft, "none") == _mrr(learnable, plain, "none")


def test_a_soft_filter_adds_its_bonus_to_the_sources_of_the_category_alone(learnable: SteeringDataset) -> None:
    plain = fit_cosine(learnable, 0)
    soft = softly_filtered(plain, learnable)
    ids = learnable.queries("test")[:5]
    steered = steering(learnable, ids, "category")
    gained = soft.query_vectors(ids, steered) @ soft.sources.T - plain.query_vectors(ids, steered) @ plain.sources.T
    own = learnable.question_category[ids][:, None] == learnable.source_category
    np.testing.assert_allclose(gained, np.where(own, soft.settings["bonus"], 0.0), atol=1e-5)


def test_bm25_is_its_formula(worded: SteeringDataset) -> None:
    method = fit_bm25(worded, 0)
    k1, b = method.settings["k1"], method.settings["b"]
    documents = [text.split() for text in worded.source_texts]
    mean_length = sum(map(len, documents)) / len(documents)
    holders = {word: sum(word in document for document in documents) for word in (*_WORDS, "please")}

    def score(question: str, document: list[str]) -> float:
        total = 0.0
        for word in question.split():
            frequency = document.count(word)
            rarity = math.log(1 + (len(documents) - holders[word] + 0.5) / (holders[word] + 0.5))
            norm = k1 * (1 - b + b * len(document) / mean_length)
            total += rarity * frequency * (k1 + 1) / (frequency + norm)
        return total

    asked = next(number for number, text in enumerate(worded.question_texts) if len(set(text.split())) == 3)
    ids = np.array([asked])
    found = (method.query_vectors(ids, steering(worded, ids, "none")) @ method.sources.T).toarray()[0]
    expected = [score(worded.question_texts[asked], document) for document in documents]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("fit", [fit_bm25, fit_tf_idf])
def test_words_find_sources(worded: SteeringDataset, fit: Callable[[SteeringDataset, int], Method]) -> None:
    chance = sum(1 / rank for rank in range(1, 601)) / 600
    assert _mrr(worded, fit(worded, 0)) > 5 * chance


@pytest.mark.parametrize("fit", [fit_bm25, fit_tf_idf])
def test_words_need_texts(toy_dataset: SteeringDataset, fit: Callable[[SteeringDataset, int], Method]) -> None:
    with pytest.raises(ValueError, match="need the texts"):
        fit(toy_dataset, 0)


def test_a_hard_filter_goes_with_any_method(learnable: SteeringDataset) -> None:
    questions = learnable.queries("test")
    steered = steering(learnable, questions, "none")
    method = fit_cosine(learnable, 0)
    free = evaluate(method, learnable, questions, steered)
    own = learnable.question_category[questions]
    filtered = evaluate(method, learnable, questions, steered, filter_categories=own)
    wrong = evaluate(method, learnable, questions, steered, filter_categories=(own + 1) % 4)
    assert (filtered.first_rank <= free.first_rank).all()
    assert filtered.reciprocal_rank.mean() > free.reciprocal_rank.mean()
    assert (wrong.first_rank == len(learnable.sources)).all()


def test_the_first_of_equally_good_candidates_is_taken(learnable: SteeringDataset) -> None:
    method = fit_cosine(learnable, 0)
    twins = [replace(method, name="first"), replace(method, name="second")]
    assert best_on_validation(learnable, twins, "none").name == "first"


def test_no_choice_is_made_on_test_questions(learnable: SteeringDataset) -> None:
    rng = np.random.default_rng(0)
    test = learnable.queries("test")
    scrambled = np.array(learnable.questions)
    scrambled[test] = unit(rng.normal(size=(len(test), scrambled.shape[1])))
    other = replace(learnable, questions=scrambled)
    asked = learnable.queries("train")
    for fit in (fit_rocchio, fit_ridge, lambda data, seed: fit_adapter(data, seed, grid=_QUICK[:1])):
        first, second = fit(learnable, 0), fit(other, 0)
        steered = steering(learnable, asked, "category")
        assert first.settings == second.settings
        np.testing.assert_array_equal(first.query_vectors(asked, steered), second.query_vectors(asked, steered))


def test_the_ladder_has_every_rung() -> None:
    assert list(BASELINES) == [
        "TF-IDF",
        "BM25",
        "cosine",
        "Rocchio",
        "ridge, unsteered",
        "ridge, steered",
        "adapter, unsteered",
        "adapter, steered",
        "adapter, steered half the time",
        "adapter, soft filter",
    ]
