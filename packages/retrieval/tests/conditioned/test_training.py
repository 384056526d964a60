from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sightline.retrieval import (
    RetrieverTrainingConfig,
    StateConditionedRetriever,
    recall_at_k,
    reciprocal_rank,
    train_retriever,
)
from sightline.retrieval.conditioned import ConditionFunction, EmbeddedExamples, TrainingResult, score_examples

DIMENSION, CONDITION, COUNT = 16, 12, 240
TRAINING, VALIDATION = range(200), range(200, 240)


@pytest.fixture(scope="module")
def examples() -> EmbeddedExamples:
    """Pages of 6 to 14 chunks, of which one or two are right."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(150, DIMENSION)).astype(np.float32)
    candidates = tuple(rng.choice(150, size=rng.integers(6, 15), replace=False) for _ in range(COUNT))
    positives = tuple(np.isin(np.arange(len(rows)), rng.choice(len(rows), rng.integers(1, 3))) for rows in candidates)
    return EmbeddedExamples(embeddings, candidates, positives)


@pytest.fixture(scope="module")
def states(examples: EmbeddedExamples) -> torch.Tensor:
    """Conditions from which a linear map can tell the right chunks."""
    mixing = np.random.default_rng(1).normal(size=(DIMENSION, CONDITION))
    targets = [
        examples.embeddings[rows[positive]].mean(axis=0)
        for rows, positive in zip(examples.candidates, examples.positives, strict=True)
    ]
    return torch.from_numpy(np.stack(targets) @ mixing).float()


@pytest.fixture
def lookup(states: torch.Tensor) -> ConditionFunction:
    return lambda positions: states[positions]


def train(
    examples: EmbeddedExamples, condition_fn: ConditionFunction, **changes: object
) -> tuple[StateConditionedRetriever, TrainingResult]:
    retriever = StateConditionedRetriever(CONDITION, DIMENSION)
    config = RetrieverTrainingConfig.model_validate({"epochs": 6, "batch_size": 32, "learning_rate": 0.01} | changes)
    result = train_retriever(
        retriever, examples, condition_fn=condition_fn, training=TRAINING, validation=VALIDATION, config=config
    )
    return retriever, result


def weights(retriever: StateConditionedRetriever) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in retriever.state_dict().values())


@pytest.mark.parametrize("loss", ["info_nce", "margin"])
def test_training_learns_what_conditions_tell(examples: EmbeddedExamples, lookup: ConditionFunction, loss: str):
    _, result = train(examples, lookup, loss=loss)
    assert result.history[0].loss is None
    assert result.history[0].recall < 0.75
    assert result.history[result.best_epoch].recall > 0.95
    assert result.history[result.best_epoch].mean_reciprocal_rank > 0.8


def test_training_learns_with_negatives_of_other_pages_and_with_the_importance_loss(
    examples: EmbeddedExamples, lookup: ConditionFunction
):
    changes = {"in_batch_weight": 0.5, "importance_weight": 0.1, "train_query_proj_only": False}
    retriever, result = train(examples, lookup, **changes)
    assert result.history[result.best_epoch].recall > 0.95
    only_page, _ = train(examples, lookup, train_query_proj_only=False)
    assert weights(retriever) != weights(only_page)


def test_the_importance_loss_teaches_which_chunks_are_clicked_whatever_the_condition(examples: EmbeddedExamples):
    clicked = examples.embeddings[:, 0] > 0.8  # experts click these chunks and no others
    positives = tuple(clicked[rows] for rows in examples.candidates)
    kept = [index for index, positive in enumerate(positives) if positive.any() and not positive.all()]
    pages = EmbeddedExamples(
        examples.embeddings, tuple(examples.candidates[i] for i in kept), tuple(positives[i] for i in kept)
    )
    retriever = StateConditionedRetriever(CONDITION, DIMENSION)
    train_retriever(
        retriever,
        pages,
        condition_fn=lambda positions: torch.zeros(len(positions), CONDITION),
        training=range(150),
        validation=range(150, len(kept)),
        config=RetrieverTrainingConfig(
            epochs=8, batch_size=32, learning_rate=0.01, train_query_proj_only=False, importance_weight=1.0
        ),
    )
    with torch.no_grad():
        importance = retriever.importance(torch.from_numpy(examples.embeddings)).numpy()
    assert importance[clicked].mean() > importance[~clicked].mean() + 0.1


def test_training_on_labels_that_mean_nothing_does_not_reach_recall_on_validation(examples: EmbeddedExamples):
    noise = torch.randn(COUNT, CONDITION, generator=torch.Generator().manual_seed(0))
    _, result = train(examples, lambda positions: noise[positions])
    assert result.history[-1].recall < 0.8


def test_the_same_seed_gives_the_same_bytes_and_leaves_global_randomness_alone(
    examples: EmbeddedExamples, lookup: ConditionFunction
):
    before = torch.get_rng_state()
    first, first_result = train(examples, lookup, num_negatives=3, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    second, second_result = train(examples, lookup, num_negatives=3, epochs=2)
    other, _ = train(examples, lookup, num_negatives=3, epochs=2, seed=1)
    assert weights(first) == weights(second) != weights(other)
    assert first_result == second_result


def test_the_retriever_ends_with_the_weights_of_its_best_epoch(examples: EmbeddedExamples, lookup: ConditionFunction):
    # A learning rate this high makes later epochs worse than earlier ones.
    retriever, result = train(examples, lookup, learning_rate=1.0, temperature=2.0)
    best = max(result.history, key=lambda epoch: epoch.mean_reciprocal_rank)
    assert result.history[result.best_epoch] == best != result.history[-1]
    scores, positives = score_examples(retriever, examples, VALIDATION, condition_fn=lookup)
    assert reciprocal_rank(scores, positives).mean() == best.mean_reciprocal_rank
    assert recall_at_k(scores, positives, 5).mean() == best.recall


@pytest.mark.parametrize("only", [True, False])
def test_the_importance_head_moves_only_when_asked(examples: EmbeddedExamples, lookup: ConditionFunction, only: bool):
    retriever, _ = train(examples, lookup, train_query_proj_only=only)
    assert retriever.importance_head is not None
    assert bool(retriever.importance_head.weight.detach().abs().max() == 0) is only


def test_fine_tuning_trains_what_is_behind_the_conditions(examples: EmbeddedExamples, states: torch.Tensor):
    state_model = torch.nn.Linear(CONDITION, CONDITION)
    before = state_model.weight.detach().clone()
    config = RetrieverTrainingConfig(epochs=4, learning_rate=0.01, freeze_state_model=False)

    def condition_fn(positions: Sequence[int]) -> torch.Tensor:
        return state_model(states[positions])

    retriever = StateConditionedRetriever(CONDITION, DIMENSION)
    result = train_retriever(
        retriever,
        examples,
        condition_fn=condition_fn,
        training=TRAINING,
        validation=VALIDATION,
        config=config,
        extra_parameters=state_model.parameters(),
    )
    assert not torch.equal(state_model.weight, before)
    scores, positives = score_examples(retriever, examples, VALIDATION, condition_fn=condition_fn)
    assert reciprocal_rank(scores, positives).mean() == result.history[result.best_epoch].mean_reciprocal_rank


def test_scores_of_a_batch_are_those_of_single_pages(examples: EmbeddedExamples, lookup: ConditionFunction):
    retriever = StateConditionedRetriever(CONDITION, DIMENSION)
    positions = [7, 3, 100]
    scores, positives = score_examples(retriever, examples, positions, condition_fn=lookup, batch_size=2)
    for row, position in enumerate(positions):
        rows = examples.candidates[position]
        order = retriever.select(lookup([position])[0], torch.from_numpy(examples.embeddings[rows]), len(rows))
        assert np.argsort(-scores[row], kind="stable")[: len(rows)].tolist() == order
        assert positives[row, : len(rows)].tolist() == examples.positives[position].tolist()
        assert np.isneginf(scores[row, len(rows) :]).all()


def test_contradictions_are_refused(examples: EmbeddedExamples, lookup: ConditionFunction):
    retriever = StateConditionedRetriever(CONDITION, DIMENSION)
    arguments: dict = {"condition_fn": lookup, "training": TRAINING, "validation": VALIDATION}
    frozen, thawed = RetrieverTrainingConfig(), RetrieverTrainingConfig(freeze_state_model=False)
    parameter = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="freeze_state_model is True"):
        train_retriever(retriever, examples, **arguments, config=frozen, extra_parameters=[parameter])
    with pytest.raises(ValueError, match="no extra_parameters"):
        train_retriever(retriever, examples, **arguments, config=thawed)
    with pytest.raises(ValueError, match="in both training and validation, for example 5"):
        train_retriever(retriever, examples, condition_fn=lookup, training=TRAINING, validation=[5, 210], config=frozen)
    bare = StateConditionedRetriever(CONDITION, DIMENSION, importance=False)
    with pytest.raises(ValueError, match="no importance head"):
        train_retriever(
            bare,
            examples,
            **arguments,
            config=RetrieverTrainingConfig(importance_weight=1.0, train_query_proj_only=False),
        )
    with pytest.raises(ValueError, match="there are 200 and 0"):
        train_retriever(retriever, examples, condition_fn=lookup, training=TRAINING, validation=[], config=frozen)


def test_a_loss_that_is_not_finite_stops_training(examples: EmbeddedExamples):
    broken = torch.full((COUNT, CONDITION), 1.0)
    broken[:200] = torch.nan
    with pytest.raises(FloatingPointError, match="condition vectors"):
        train(examples, lambda positions: broken[positions])


@pytest.mark.parametrize(
    "field",
    [
        {"num_negatives": 0},
        {"temperature": 0},
        {"loss": "triplet"},
        {"lr": 1e-3},
        {"loss": "margin", "in_batch_weight": 1.0},
        {"importance_weight": 1.0},
    ],
)
def test_wrong_configurations_are_refused(field: dict):
    with pytest.raises(ValidationError):
        RetrieverTrainingConfig.model_validate(field)


def test_the_keys_of_the_plan_keep_their_names_and_values():
    defaults = RetrieverTrainingConfig().model_dump()
    planned = {
        "num_negatives": 16,
        "margin": 0.2,
        "top_k": 5,
        "freeze_state_model": True,
        "train_query_proj_only": True,
    }
    assert defaults | planned == defaults
