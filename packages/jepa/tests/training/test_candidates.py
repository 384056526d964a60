from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.candidates import CandidateExamples
from sightline.jepa.data.dataset import unit
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.training.candidates import CandidateTraining, _Pages, train_on_candidates

DIMENSION, WIDTH, KINDS, COUNT = 16, 6, 3, 240
TRAINING, VALIDATION = range(180), range(180, COUNT)
SMALL = {
    "predictor": {"dimension": DIMENSION, "hidden_dimension": 8},
    "scorer": {"steering_dimension": WIDTH},
    "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.01, "warmup_epochs": 0, "average_tau": 0.8},
}


def config(**changes: Any) -> JEPAConfig:
    return JEPAConfig.model_validate(SMALL | changes)


def pages(*, steered: bool = True, seed: int = 0) -> CandidateExamples:
    """Pages of three to seven chunks: the state says which kind is wanted, the question which chunk of it."""
    rng = np.random.default_rng(seed)
    states = unit(rng.normal(size=(KINDS, WIDTH)))
    kinds, sources, category, questions, candidates, positives = [], [], [], [], [], []
    for _ in range(COUNT):
        wanted, size = int(rng.integers(KINDS)), int(rng.integers(3, 8))
        details = unit(rng.normal(size=(1, DIMENSION)))[0]
        # Two chunks say what was asked, one of the wanted kind: without the state it is a toss.
        of_kind = [wanted, (wanted + 1) % KINDS, *rng.integers(0, KINDS, size - 2)]
        texts = [details + 0.3 * rng.normal(size=DIMENSION) / 4 for _ in range(2)]
        texts += list(rng.normal(size=(size - 2, DIMENSION)) / 4)
        order = rng.permutation(size)
        candidates.append(len(sources) + np.arange(size))
        positives.append(order == 0)
        sources += [texts[at] for at in order]
        category += [of_kind[at] for at in order]
        questions.append(details)
        kinds.append(wanted)
    return CandidateExamples(
        questions=unit(np.array(questions)),
        steering=states[kinds] + 0.1 * rng.normal(size=(COUNT, WIDTH)),
        has_steering=np.full(COUNT, steered),
        sources=np.array(sources),
        source_category=np.array(category, dtype=np.int64),
        candidates=tuple(candidates),
        positives=tuple(positives),
        names=tuple(f"kind {number}" for number in range(KINDS)),
        descriptions=unit(rng.normal(size=(KINDS, DIMENSION))),
        encoder="toy",
    )


PAGES = pages()


@pytest.fixture(scope="module")
def trained() -> CandidateTraining:
    return train_on_candidates(config(), PAGES, training=TRAINING, validation=VALIDATION)


def rank_by_hand(training: CandidateTraining, examples: CandidateExamples, number: int) -> int:
    """The rank of the best right candidate, by what the model says of this one question."""
    rows = examples.candidates[number]
    scores = training.model.score(
        torch.from_numpy(examples.questions[number]),
        torch.from_numpy(examples.steering[number]),
        torch.tensor(bool(examples.has_steering[number])),
        torch.from_numpy(examples.sources[rows]),
        torch.from_numpy(examples.source_category[rows]),
    ).numpy()
    right = examples.positives[number]
    return 1 + int((scores[~right] >= scores[right].max()).sum())


def test_it_learns_what_the_state_says_about_kinds_that_it_was_told_nothing_of(trained: CandidateTraining):
    untrained, best = trained.history[0], trained.history[trained.best_epoch]
    assert untrained.loss is None
    assert 0.6 < untrained.mean_reciprocal_rank < 0.85  # a toss between two of the page's chunks
    assert best.mean_reciprocal_rank > 0.95
    without = train_on_candidates(config(), pages(steered=False), training=TRAINING, validation=VALIDATION)
    assert without.best_score < 0.85


def test_the_score_of_an_epoch_is_what_the_kept_model_says_question_by_question(trained: CandidateTraining):
    ranks = [rank_by_hand(trained, PAGES, number) for number in VALIDATION]
    assert trained.best_score == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    scores = [epoch.mean_reciprocal_rank for epoch in trained.history]
    assert trained.best_epoch == int(np.argmax(scores))
    assert not any(parameter.requires_grad for parameter in trained.model.predictor.parameters())


def test_scores_in_training_are_those_of_the_model(trained: CandidateTraining):
    at = torch.arange(5)
    training = _Pages.of(PAGES, torch.device("cpu"))
    assert isinstance(trained.model.predictor, FilterAwareScorer)
    scores = training.scores(trained.model.predictor, at)
    mask = training.mask[at]
    expected = trained.model.score(
        training.questions[at],
        training.steering[at],
        training.has_steering[at],
        training.sources[training.rows[at]],
        training.category[training.rows[at]],
        mask=mask,
    )
    torch.testing.assert_close(scores[mask], expected[mask])


def test_the_same_training_gives_the_same_numbers_and_leaves_global_randomness_alone(trained: CandidateTraining):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = train_on_candidates(config(), PAGES, training=TRAINING, validation=VALIDATION)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.history == trained.history
    other = config(training=SMALL["training"] | {"seed": 1})
    assert train_on_candidates(other, PAGES, training=TRAINING, validation=VALIDATION).history != again.history


def test_the_length_of_vectors_changes_nothing(trained: CandidateTraining):
    shorter = replace(PAGES, sources=PAGES.sources / 2)
    found = train_on_candidates(config(), shorter, training=TRAINING, validation=VALIDATION)
    losses, expected = ([epoch.loss for epoch in each.history[1:]] for each in (found, trained))
    assert losses == pytest.approx(expected, rel=1e-3)
    # Questions of length 1 are left as they are: others differ by rounding, which a training makes something of.
    found, same = (
        train_on_candidates(
            config(),
            replace(PAGES, questions=length * PAGES.questions.astype(np.float64)),
            training=TRAINING,
            validation=VALIDATION,
        )
        for length in (3, 6)
    )
    assert found.history == same.history
    assert found.history[-1].mean_reciprocal_rank == pytest.approx(trained.history[-1].mean_reciprocal_rank, abs=0.02)


def test_validation_decides_whether_there_is_a_residual():
    settings = {"training": SMALL["training"] | {"epochs": 2}}
    kinds = {
        residual: train_on_candidates(
            config(scorer={"steering_dimension": WIDTH, "residual": residual}, **settings),
            PAGES,
            training=TRAINING,
            validation=VALIDATION,
        )
        for residual in ("none", "plain", "auto")
    }
    better = max(("none", "plain"), key=lambda residual: kinds[residual].best_score)
    assert kinds["auto"].history == kinds[better].history
    assert kinds["auto"].model.config.scorer.residual == better
    assert kinds["auto"].model.config.scorer.filter == "joint"


def test_training_stops_when_validation_no_longer_improves():
    impatient = config(training=SMALL["training"] | {"epochs": 60, "patience": 2})
    found = train_on_candidates(impatient, PAGES, training=TRAINING, validation=VALIDATION)
    assert len(found.history) == found.best_epoch + 3 < 61


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "plain", "scorer": {}}, "scored by model 'scorer', not 'plain'"),
        ({"loss": {"vicreg": 1.0, "regression": 0.5}}, "regression, vicreg, num_negatives of loss to 0"),
        ({"loss": {"info_nce": 0.0}}, "set info_nce above 0"),
        ({"training": {"batches": "balanced"}}, "training.batches 'random'"),
        ({"training": {"precision": "bfloat16"}}, "training.precision 'float32'"),
        ({"scorer": {"filter": "staged"}}, "set scorer.filter to 'joint'"),
        ({"scorer": {}}, f"scorer.steering_dimension {WIDTH}, not {DIMENSION} and {DIMENSION}"),
    ],
)
def test_a_configuration_that_asks_for_something_else_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        train_on_candidates(config(**changes), PAGES, training=TRAINING, validation=VALIDATION)


def test_examples_to_train_and_to_validate_on_must_be_there_and_differ():
    with pytest.raises(ValueError, match="0 examples to train on and 60 to validate on"):
        train_on_candidates(config(), PAGES, training=[], validation=VALIDATION)
    with pytest.raises(ValueError, match="1 examples are in both training and validation, for example 180"):
        train_on_candidates(config(), PAGES, training=range(181), validation=VALIDATION)


def test_a_loss_that_is_not_finite_ends_the_training_in_words():
    wild = config(training=SMALL["training"] | {"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match=r"lower training\.learning_rate"):
        train_on_candidates(wild, PAGES, training=TRAINING, validation=VALIDATION)
