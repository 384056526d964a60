"""Losses equal what other libraries compute, to rounding."""

from __future__ import annotations

import importlib
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import paired_cosine_distances
from torch.nn.functional import normalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sightline.jepa import batch_info_nce
from sightline.jepa.losses import (
    candidate_info_nce,
    centroid_loss,
    corpus_info_nce,
    disentanglement_loss,
    load_balance_loss,
    regression_loss,
    routing_confidence_loss,
    routing_loss,
)
from sightline.jepa.losses.losses import steering_loss
from sightline.jepa.models.target import average_into, frozen_copy

try:
    losses = importlib.import_module("sentence_transformers.sentence_transformer.losses")
except ModuleNotFoundError:  # their place before version 6
    losses = importlib.import_module("sentence_transformers.losses")

COUNT, DIMENSION = 16, 24


def unit(seed: int, *shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


PREDICTIONS, SOURCES = unit(0, COUNT, DIMENSION), unit(1, COUNT, DIMENSION)
CATEGORIES = 5
CENTROIDS, CATEGORY = unit(3, CATEGORIES, DIMENSION), torch.arange(COUNT) % CATEGORIES
WEIGHTS = unit(4, COUNT, CATEGORIES).square()  # rows sum to 1
NOTHING = torch.zeros(COUNT, COUNT, dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.02, 0.05, 0.5])
def test_within_a_batch_it_is_the_ranking_loss_of_both_directions(temperature: float):
    reference = losses.MultipleNegativesRankingLoss(Mock(), scale=1 / temperature)
    directions = ([PREDICTIONS, SOURCES], [SOURCES, PREDICTIONS])
    expected = sum(reference.compute_loss_from_embeddings(each, torch.empty(0)) for each in directions) / 2
    torch.testing.assert_close(batch_info_nce(PREDICTIONS, SOURCES, NOTHING, temperature)["loss"], expected)


def test_shared_mined_negatives_are_those_of_the_ranking_loss():
    mined = unit(2, 3, COUNT, DIMENSION)
    reference = losses.MultipleNegativesRankingLoss(Mock(), scale=20.0)
    expected = reference.compute_loss_from_embeddings([PREDICTIONS, SOURCES, *mined], torch.empty(0))
    found = batch_info_nce(PREDICTIONS, SOURCES, NOTHING, 0.05, mined.reshape(-1, DIMENSION))
    torch.testing.assert_close(found["forward"], expected)


def test_against_a_corpus_of_the_batchs_sources_it_is_the_ranking_loss():
    reference = losses.MultipleNegativesRankingLoss(Mock(), scale=20.0)
    expected = reference.compute_loss_from_embeddings([PREDICTIONS, SOURCES], torch.empty(0))
    targets = torch.arange(COUNT)
    found = corpus_info_nce(PREDICTIONS, SOURCES, targets, (targets[:0], targets[:0]), 0.05)
    torch.testing.assert_close(found["loss"], expected)


def test_among_own_candidates_of_which_one_is_right_it_is_the_ranking_loss_with_own_negatives():
    mined = unit(2, COUNT, 3, DIMENSION)
    reference = losses.MultipleNegativesRankingLoss(Mock(), scale=20.0)
    one_by_one = [
        reference.compute_loss_from_embeddings([PREDICTIONS[[at]], SOURCES[[at]], *mined[at].split(1)], torch.empty(0))
        for at in range(COUNT)
    ]
    candidates = torch.cat([SOURCES[:, None], mined], dim=1)
    scores = torch.einsum("bd,bnd->bn", PREDICTIONS, candidates)
    positive = torch.zeros(COUNT, 4, dtype=torch.bool)
    positive[:, 0] = True
    found = candidate_info_nce(scores, positive, torch.ones_like(positive), 0.05)
    torch.testing.assert_close(found["loss"], torch.stack(one_by_one).mean())


def test_the_averaged_weights_are_those_of_torch():
    online = torch.nn.Linear(3, 3)
    reference = AveragedModel(online, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    reference.update_parameters(online)
    average = frozen_copy(online)
    for step in range(5):
        with torch.no_grad():
            online.weight.add_(step + 1.0)
        reference.update_parameters(online)
        average_into(average, online, 0.9)
    torch.testing.assert_close(average.weight, reference.module.weight)


def test_cross_entropies_of_categories_are_scikit_learns_log_loss():
    def expected(logits: torch.Tensor) -> float:
        return log_loss(CATEGORY.numpy(), logits.softmax(dim=1).numpy(), labels=range(CATEGORIES))

    logits = PREDICTIONS @ CENTROIDS.T
    assert float(routing_loss(7 * logits, CATEGORY)["loss"]) == pytest.approx(expected(7 * logits))
    assert float(centroid_loss(PREDICTIONS, CENTROIDS, CATEGORY, 0.1)["loss"]) == pytest.approx(expected(logits / 0.1))
    directions, sources = 3 * CENTROIDS, PREDICTIONS
    assert float(steering_loss(directions, sources, CATEGORY, 0.2)["loss"]) == pytest.approx(expected(logits / 0.2 * 3))


def test_regression_is_scikit_learns_cosine_distance():
    expected = paired_cosine_distances(PREDICTIONS.numpy(), SOURCES.numpy()).mean()
    assert float(regression_loss(PREDICTIONS, SOURCES)["loss"]) == pytest.approx(expected)


def test_the_entropies_of_routing_are_scipys_and_its_correlations_numpys():
    weights = WEIGHTS.numpy()
    balance = 1 - entropy(weights.mean(axis=0), base=CATEGORIES)
    assert float(load_balance_loss(WEIGHTS)["loss"]) == pytest.approx(balance)
    assert float(routing_confidence_loss(WEIGHTS)["loss"]) == pytest.approx(
        entropy(weights, base=CATEGORIES, axis=1).mean()
    )
    correlations = np.corrcoef(weights, rowvar=False)
    pairs = correlations[~np.eye(CATEGORIES, dtype=bool)]
    # The loss adds 1e-6 to variances of about .05, so that unused subspaces have no undefined correlations.
    assert float(disentanglement_loss(WEIGHTS)["loss"]) == pytest.approx(np.square(pairs).mean(), rel=1e-3)
