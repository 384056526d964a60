from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa.baselines.simple import fit_bm25, fit_cosine, softly_filtered
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import steering
from sightline.jepa.ranking import fusion
from sightline.jepa.ranking.evaluation import Method, evaluate, method_scores
from sightline.jepa.ranking.fusion import fit_lexical_index, fit_shared_words, with_bm25

_WORDS = [f"word{number}" for number in range(60)]


def _worded(dataset: SteeringDataset, *, helpful: bool) -> SteeringDataset:
    """Texts of twelve words; a question has two of its source's, or two of any."""
    rng = np.random.default_rng(0)
    sources = [rng.choice(_WORDS, size=12, replace=False) for _ in dataset.sources]
    asked = [words[:2] if helpful else rng.choice(_WORDS, size=2, replace=False) for words in sources]
    return replace(
        dataset,
        question_texts=tuple(" ".join([*words, "please"]) for words in asked),
        source_texts=tuple(map(" ".join, sources)),
    )


@pytest.fixture(scope="module")
def worded(toy_dataset: SteeringDataset) -> SteeringDataset:
    return _worded(toy_dataset, helpful=True)


@pytest.fixture(scope="module")
def unhelpful(easy_dataset: SteeringDataset) -> SteeringDataset:
    """Words that say nothing, beside vectors that say everything."""
    return _worded(replace(easy_dataset, questions=easy_dataset.sources), helpful=False)


def _mrr(dataset: SteeringDataset, method: Method) -> float:
    questions = dataset.queries("test")
    return float(evaluate(method, dataset, questions, steering(dataset, questions, "none")).reciprocal_rank.mean())


def test_fused_scores_are_cosines_plus_the_weight_times_the_share_of_words(worded: SteeringDataset) -> None:
    plain, index = fit_cosine(worded, 0), fit_lexical_index(worded)
    fused = with_bm25(plain, index, worded)
    weight = fused.settings["words"]
    assert weight > 0
    questions = worded.queries("test")
    unsteered = steering(worded, questions, "none")
    found = method_scores(fused, questions, unsteered)(slice(3, 9))
    shares = index.shares([worded.question_texts[question] for question in questions[3:9]])
    np.testing.assert_allclose(found, worded.questions[questions[3:9]] @ worded.sources.T + weight * shares, atol=1e-5)


def test_words_that_help_are_used_and_gain_over_vectors_and_words_alone(worded: SteeringDataset) -> None:
    plain = fit_cosine(worded, 0)
    fused = _mrr(worded, with_bm25(plain, fit_lexical_index(worded), worded))
    assert fused > _mrr(worded, plain) + 0.05
    assert fused > _mrr(worded, fit_bm25(worded, 0)) + 0.05


def test_words_that_do_not_help_are_left_out_and_nothing_changes(unhelpful: SteeringDataset) -> None:
    plain = fit_cosine(unhelpful, 0)
    fused = with_bm25(plain, fit_lexical_index(unhelpful), unhelpful)
    assert fused.settings["words"] == 0
    assert fused.added is None
    questions = unhelpful.queries("test")
    unsteered = steering(unhelpful, questions, "none")
    rows = slice(0, len(questions))
    assert (method_scores(fused, questions, unsteered)(rows) == method_scores(plain, questions, unsteered)(rows)).all()


def test_the_weight_is_the_best_on_validation_over_all_kinds_of_steering(
    worded: SteeringDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "_WEIGHTS", (0.0, 0.5, 8.0))
    questions, index = worded.queries("validation"), fit_lexical_index(worded)
    shares = index.shares([worded.question_texts[question] for question in questions])
    modes = [worded.questions[questions] @ worded.sources.T, np.random.default_rng(0).normal(size=shares.shape)]
    found = fit_shared_words(
        index,
        [worded.question_texts[question] for question in questions],
        [mode.astype(np.float32).__getitem__ for mode in modes],
        worded.relevant(questions),
    )
    means = {
        weight: np.mean([
            1 / (scores >= scores[question]).sum()
            for mode in modes
            for scores, question in zip(mode + weight * shares, questions, strict=True)
        ])
        for weight in (0.0, 0.5, 8.0)
    }  # fmt: skip
    assert found.weight == max(means, key=means.__getitem__)
    assert found.validation == pytest.approx(max(means.values()), abs=1e-4)
    assert found.validation_without == pytest.approx(means[0.0], abs=1e-4)


def test_the_choice_is_not_made_on_test_questions(worded: SteeringDataset) -> None:
    texts = list(worded.question_texts)
    for question in worded.queries("test"):
        texts[question] = "zoology"
    other = replace(worded, question_texts=tuple(texts))
    first, second = (with_bm25(fit_cosine(data, 0), fit_lexical_index(data), data) for data in (worded, other))
    assert first.settings == second.settings


def test_a_filter_by_category_goes_with_shared_words(worded: SteeringDataset) -> None:
    fused = with_bm25(fit_cosine(worded, 0), fit_lexical_index(worded), worded)
    questions = worded.queries("test")
    own = worded.question_category[questions]
    unsteered = steering(worded, questions, "none")
    wrong = evaluate(fused, worded, questions, unsteered, filter_categories=(own + 1) % 4)
    assert (wrong.first_rank == len(worded.sources)).all()
    filtered = evaluate(fused, worded, questions, unsteered, filter_categories=own)
    assert filtered.reciprocal_rank.mean() >= _mrr(worded, fused)


def test_a_soft_filter_keeps_what_was_added(worded: SteeringDataset) -> None:
    fused = with_bm25(fit_cosine(worded, 0), fit_lexical_index(worded), worded)
    assert softly_filtered(fused, worded).added is fused.added


def test_words_are_added_to_what_was_added_before(worded: SteeringDataset) -> None:
    cosine, questions = fit_cosine(worded, 0), worded.queries("test")
    twice = replace(cosine, added=replace(cosine, name="again"))
    index, unsteered = fit_lexical_index(worded), steering(worded, questions, "none")
    fused = with_bm25(twice, index, worded)
    assert fused.settings["words"] > 0
    everything = slice(0, len(questions))
    found = method_scores(fused, questions, unsteered)(everything)
    shares = index.shares([worded.question_texts[question] for question in questions])
    cosines = worded.questions[questions] @ worded.sources.T
    np.testing.assert_allclose(found, 2 * cosines + fused.settings["words"] * shares, atol=1e-5)


def test_shared_words_need_texts(toy_dataset: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="need the texts"):
        fit_lexical_index(toy_dataset)
