"""Training questions that models were not trained on teach when to trust an answer, as those of validation do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa import JEPAConfig, JEPAModel, SteeringDataset, Trainer
from sightline.jepa.asking import Answerer, HashedTermsEncoder, HeldOut
from sightline.jepa.data import hold_out_fold
from sightline.jepa.explaining.evidence import FEATURES

CONFIG = JEPAConfig.model_validate(
    {
        "predictor": {"dimension": 64, "hidden_dimension": 16},
        "loss": {"negatives": "corpus"},
        "scorer": {"filter": "joint"},
        "training": {"epochs": 2, "batch_size": 16, "warmup_epochs": 1},
    }
)


def trained(dataset: SteeringDataset) -> JEPAModel:
    trainer = Trainer(CONFIG, dataset)
    trainer.fit()
    return trainer.model


@pytest.fixture(scope="module")
def whole(dataset: SteeringDataset) -> JEPAModel:
    return trained(dataset)


@pytest.fixture(scope="module")
def parts(dataset: SteeringDataset) -> list[HeldOut]:
    return [HeldOut(trained(part), part) for part in (hold_out_fold(dataset, fold, 2, seed=0) for fold in range(2))]


def nearest_known(dataset: SteeringDataset, questions: np.ndarray) -> np.ndarray:
    known = dataset.questions[dataset.pairs[dataset.pair_split == 0, 0]]
    return (np.asarray(dataset.questions[questions]) @ np.asarray(known).T).max(axis=1)


def test_evidence_is_of_validation_and_of_what_is_held_out_and_knows_no_question_that_is_asked(
    whole: JEPAModel, dataset: SteeringDataset, parts: list[HeldOut], encoder: HashedTermsEncoder
):
    column = FEATURES.index("known_similarity")
    of_validation = nearest_known(dataset, dataset.queries("validation"))
    of_parts = [nearest_known(part.dataset, part.dataset.queries("test")) for part in parts]
    alone, more = (Answerer.fit(whole, dataset, encoder, held_out=given) for given in ((), parts))
    for answerer, expected in ((alone, of_validation), (more, np.concatenate([of_validation, *of_parts]))):
        calibrator = answerer._contents.policy.first_right
        assert calibrator.means[column] == pytest.approx(expected.mean(), abs=1e-5)
        assert calibrator.scales[column] == pytest.approx(expected.std(), abs=1e-5)
    assert max(similarity.max() for similarity in of_parts) < 0.999  # else a question would have found itself
    assert alone.shared_words == more.shared_words


def test_models_that_know_no_answer_lower_the_confidence(
    whole: JEPAModel, dataset: SteeringDataset, parts: list[HeldOut], encoder: HashedTermsEncoder
):
    asked = [dataset.question_texts[question] for question in dataset.queries("test")]
    right = Answerer.fit(whole, dataset, encoder, held_out=parts).ask_batch(asked)
    rng = np.random.default_rng(0)
    shuffled = [
        replace(part, dataset=replace(part.dataset, questions=rng.permutation(part.dataset.questions)))
        for part in parts
    ]
    wrong = Answerer.fit(whole, dataset, encoder, held_out=shuffled).ask_batch(asked)
    stated = [np.array([answer.confidence for answer in answers], dtype=np.float64) for answers in (right, wrong)]
    assert stated[1].mean() < stated[0].mean() - 0.05


def test_what_is_held_out_must_be_training_questions_each_but_once(
    whole: JEPAModel, dataset: SteeringDataset, parts: list[HeldOut], encoder: HashedTermsEncoder
):
    other = replace(dataset, source_texts=tuple(text + "!" for text in dataset.source_texts))
    of_other = HeldOut(parts[0].model, hold_out_fold(other, 0, 2, seed=0))
    for place, given in ((0, [HeldOut(whole, dataset)]), (1, [parts[0], parts[0]]), (0, [of_other])):
        with pytest.raises(ValueError, match=rf"held_out\[{place}\] must hold out training questions"):
            Answerer.fit(whole, dataset, encoder, held_out=given)
