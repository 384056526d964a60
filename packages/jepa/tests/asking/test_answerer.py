from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sightline.jepa import SteeringDataset, steering
from sightline.jepa.asking import Answerer, AnswererError, HashedTermsEncoder, TextEncoder
from sightline.jepa.asking.fitting import fit_contents
from sightline.jepa.explaining import ActionableSignal
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.ranking.lexical import TermCounts

QUESTION = "how do I alter the address"


class Altered:
    """An encoder of the right name whose vectors are changed by a function."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], name: str = "hashed-terms-64") -> None:
        self.name = name
        self._change = change

    def encode(self, texts: Sequence[str], /) -> np.ndarray:
        return self._change(HashedTermsEncoder(64).encode(texts))


def test_an_answer_holds_ranked_texts_with_a_decision_and_its_reasons(answerer: Answerer):
    answer = answerer.ask(QUESTION, category="shipping", top_k=3)
    assert answer.question == QUESTION
    assert answer.steering == "category shipping"
    assert [source.rank for source in answer.sources] == [1, 2, 3]
    assert [source.score for source in answer.sources] == sorted((s.score for s in answer.sources), reverse=True)
    assert all(answerer.sources[source.id] == source.text for source in answer.sources)
    assert all(source.text.startswith(source.category) for source in answer.sources)
    assert answer.confidence is not None
    assert 0 < answer.confidence < 1
    assert answer.decision in ActionableSignal
    assert answer.advice
    assert len(answer.reasons) == len(answer.explanation.reasons) > 0
    assert answer.similar_questions[0].source in answerer.sources
    assert type(answer).model_validate_json(answer.model_dump_json()) == answer


def test_an_answer_is_what_the_model_and_the_shared_words_say(
    answerer: Answerer, model: JEPAModel, dataset: SteeringDataset
):
    import torch

    words = answerer.shared_words
    assert words is not None
    question = int(dataset.queries("test")[0])
    steered = steering(dataset, np.array([question]), "category")
    inputs = torch.from_numpy(dataset.questions[[question]]), torch.from_numpy(steered.vectors), torch.tensor([True])
    index = model.embed_index(torch.from_numpy(dataset.sources), torch.from_numpy(dataset.source_category))
    text = dataset.question_texts[question]
    shared = words.scores(words.index(dataset.source_texts), [text])[0]
    expected = np.argsort(-((model.predict(*inputs) @ index.T)[0].numpy() + shared), kind="stable")[:5]
    name = dataset.names[dataset.question_category[question]]
    found = answerer.ask(text, category=name, top_k=5)
    assert [source.text for source in found.sources] == [dataset.source_texts[row] for row in expected]


def test_steering_by_category_and_by_keywords_moves_the_answer_into_the_area(answerer: Answerer):
    asked = {
        "category": answerer.ask(QUESTION, category="account", steering_strength=3),
        "keywords": answerer.ask(QUESTION, keywords=["account"], steering_strength=3),
        "case": answerer.ask(QUESTION, category=" Account ", steering_strength=3),
    }
    assert len({answer.sources for answer in asked.values()}) == 1
    shares = [
        np.mean([source.category == "account" for source in answerer.ask(QUESTION, category=area).sources])
        for area in ("billing", None, "account")
    ]
    assert shares[0] < shares[2]
    assert answerer.ask(QUESTION, category="account", steering_strength=0).sources == answerer.ask(QUESTION).sources
    assert asked["category"].confidence is None  # nobody has learned what such answers are worth


def test_infinite_strength_ranks_the_whole_area_first_where_the_model_can(answerer: Answerer, model: JEPAModel):
    if model.config.model != "scorer":
        with pytest.raises(ValueError, match="only model 'scorer' takes infinity"):
            answerer.ask(QUESTION, category="account", steering_strength=float("inf"))
        return
    found = answerer.ask(QUESTION, category="account", steering_strength=float("inf"), top_k=1000).sources
    of_area = [source.category == "account" for source in found]
    assert of_area == sorted(of_area, reverse=True)
    assert 0 < sum(of_area) < len(found)


def test_a_batch_is_answered_as_its_questions_one_by_one(answerer: Answerer, dataset: SteeringDataset):
    questions = [dataset.question_texts[row] for row in dataset.queries("test")[:6]]
    categories = ["billing", None, "account", None, "shipping", "billing"]
    keywords = [None, "parcel", "theme", "", None, None]
    batch = answerer.ask_batch(questions, categories=categories, keywords=keywords)
    alone = [
        answerer.ask(question, category=category, keywords=words)
        for question, category, words in zip(questions, categories, keywords, strict=True)
    ]
    assert [[s.id for s in answer.sources] for answer in batch] == [[s.id for s in answer.sources] for answer in alone]
    assert [answer.decision for answer in batch] == [answer.decision for answer in alone]
    np.testing.assert_allclose([a.confidence for a in batch], [a.confidence for a in alone], atol=1e-5)
    assert [answer.steering for answer in batch[:4]] == [
        "category billing",
        "keywords parcel",
        "category account, keywords theme",
        None,
    ]
    assert answerer.ask_batch([]) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_question_may_be_a_vector_of_any_type_and_length(
    answerer: Answerer, encoder: HashedTermsEncoder, dtype: type
):
    (vector,) = encoder.encode([QUESTION])
    words, asked = answerer.ask(QUESTION), answerer.ask((3 * vector).astype(dtype))
    assert asked.question == ""
    assert [source.id for source in asked.sources] == [source.id for source in words.sources]
    assert "(given as a vector)" in asked.page()


@pytest.mark.parametrize("change", [lambda rows: 7 * rows, lambda rows: rows.astype(np.float64), np.float16])
def test_an_encoder_may_give_other_lengths_and_types(
    folder: Path, answerer: Answerer, change: Callable[[np.ndarray], np.ndarray]
):
    other = Answerer.from_pretrained(folder, Altered(change))
    assert [s.id for s in other.ask(QUESTION).sources] == [s.id for s in answerer.ask(QUESTION).sources]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (HashedTermsEncoder(32), "trained with encoder 'hashed-terms-64', not 'hashed-terms-32'"),
        (Altered(lambda rows: rows[:, ::-1]), "right name, but gives other vectors"),
        (Altered(lambda rows: rows[:, :40]), r"shape \[1, 40\], where \[1, 64\] is needed"),
        (Altered(lambda rows: 0 * rows), "zero or not finite"),
    ],
)
def test_another_encoder_than_the_one_trained_with_is_refused(folder: Path, other: TextEncoder, said: str):
    with pytest.raises(AnswererError, match=said):
        Answerer.from_pretrained(folder, other)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"category": "shiping"}, "no category 'shiping'; did you mean 'shipping'"),
        ({"category": "zoology"}, "there are billing, shipping, account. Steer to anything else with keywords"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"steering_strength": float("nan")}, "a number of at least 0"),
        ({"steering_strength": -1.0}, "a number of at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(answerer: Answerer, wrong: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        answerer.ask(QUESTION, **wrong)  # ty: ignore[invalid-argument-type]


def test_questions_that_are_none_are_refused_in_words(answerer: Answerer):
    for question, said in (
        ("  ", "something in it"),
        (np.zeros(64), "zero or not finite"),
        (np.full(64, np.nan), "zero or not finite"),
        (np.ones(63), "is needed"),
        (np.array(["a"] * 64), "no real numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            answerer.ask(question)
    with pytest.raises(TypeError, match="several to ask_batch"):
        answerer.ask([QUESTION, QUESTION])
    with pytest.raises(TypeError, match="a single one to ask"):
        answerer.ask_batch(QUESTION)
    with pytest.raises(ValueError, match="categories must be 1, as many as there are texts, not 2"):
        answerer.ask_batch([QUESTION], categories=["billing", "account"])


def test_more_sources_than_ten_can_be_wanted_and_never_more_than_there_are(answerer: Answerer):
    few, many = answerer.ask(QUESTION, top_k=10), answerer.ask(QUESTION, top_k=10_000)
    assert many.sources[:10] == few.sources
    assert len(many.sources) == len({source.id for source in many.sources}) == len(answerer.sources)
    assert many.explanation == few.explanation


def test_a_page_shows_the_answer_with_its_texts(answerer: Answerer):
    answer = answerer.ask(QUESTION, category="account")
    page = answer.page("a trial")
    assert "a trial" in page
    assert answer.sources[0].text in page
    assert answer.similar_questions[0].question in page
    assert "Steering: <bdi>category account" in page


def test_an_answerer_is_made_only_of_what_fits(model: JEPAModel, dataset: SteeringDataset, encoder: HashedTermsEncoder):
    from dataclasses import replace

    with pytest.raises(ValueError, match="made without; build it with them"):
        Answerer.fit(model, replace(dataset, source_texts=(), question_texts=()), encoder)
    with pytest.raises(ValueError, match="descriptions, not 162 and 1"):
        Answerer.fit(model, dataset, encoder, descriptions=["one"])
    with pytest.raises(AnswererError, match="made with encoder 'hashed-terms-64', not 'hashed-terms-32'"):
        Answerer.fit(model, dataset, HashedTermsEncoder(32))
    few = np.where(dataset.pair_split == 1, 2, dataset.pair_split)
    few[np.flatnonzero(dataset.pair_split == 1)[0]] = 1
    with pytest.raises(ValueError, match="too few to learn when to trust"):
        fit_contents(model, replace(dataset, pair_split=few), encoder, None, None)


def test_a_ranking_with_shared_words_is_that_of_brute_force(worded: Answerer, worded_dataset: SteeringDataset):
    words = worded.shared_words
    assert words is not None
    assert words.weight > 0
    assert words.validation > words.validation_without
    texts = list(worded.sources.values())
    shares = TermCounts.of(texts).weighted(words.saturation, words.length_penalty).shares
    compared = 0
    for row in worded_dataset.queries("test"):
        question = worded_dataset.question_texts[row]
        (meant,) = shares([question])
        expected = worded_dataset.questions[row] @ worded_dataset.sources.T + words.weight * meant
        order = np.argsort(-expected, kind="stable")
        if np.diff(-expected[order[:7]]).min() < 1e-5:  # two are equal but for rounding, and may come in any order
            continue
        compared, order = compared + 1, order[:6]
        found = worded.ask(question, top_k=6)
        assert [source.text for source in found.sources] == [texts[place] for place in order]
        np.testing.assert_allclose([source.score for source in found.sources], expected[order], atol=1e-5)
        np.testing.assert_allclose([source.shared_words for source in found.sources], words.weight * meant[order])
        assert [result.source for result in found.explanation.results[:6]] == order.tolist()
        assert found.sources[0].text.endswith(f"ticket{row}")
    assert compared >= 4


def test_a_vector_shares_no_words_and_has_no_probability_where_words_count(
    worded: Answerer, worded_dataset: SteeringDataset
):
    row = int(worded_dataset.queries("test")[0])
    asked, words = (
        worded.ask(question) for question in (worded_dataset.questions[row], worded_dataset.question_texts[row])
    )
    assert not any(source.shared_words for source in asked.sources)
    cosines = worded_dataset.sources @ worded_dataset.questions[row]
    assert [s.text for s in asked.sources] == [
        worded_dataset.source_texts[n] for n in np.argsort(-cosines, kind="stable")[:10]
    ]
    assert (asked.confidence, asked.results_confidence) == (None, None)
    assert words.confidence is not None


def test_questions_with_and_without_words_are_answered_in_one_batch(worded: Answerer, worded_dataset: SteeringDataset):
    rows = worded_dataset.queries("test")[:3]
    questions = [worded_dataset.question_texts[rows[0]], worded_dataset.questions[rows[1]], "zoology"]
    batch = worded.ask_batch(questions)
    alone = [worded.ask(question) for question in questions]
    assert [[s.id for s in answer.sources] for answer in batch] == [[s.id for s in answer.sources] for answer in alone]
    assert [answer.sources[0].shared_words > 0 for answer in batch] == [True, False, False]
