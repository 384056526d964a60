"""What is computed block by block does not depend on the size of the blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sightline.jepa import SteeringDataset, mine_negatives
from sightline.jepa.data import negatives
from sightline.jepa.data.dataset import DatasetError
from sightline.jepa.explaining import gather_evidence
from sightline.jepa.explaining.evidence import Evidence
from sightline.jepa.explaining.prediction import PredictionParts
from sightline.jepa.ranking.metrics import relevant_ranks, vector_scores
from sightline.jepa.ranking.source_index import SourceIndex, blocks_of, search
from sightline.jepa.training.collapse import measure_collapse

SIZES = [1, 2, 7, 159, 160, 161]


def relevant(count: int) -> list[np.ndarray]:
    return [np.array(sorted({row, (row * 7) % count})) for row in range(count)]


@pytest.mark.parametrize("size", SIZES)
def test_ranks(toy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch, size: int):
    scores = vector_scores(toy_dataset.questions, toy_dataset.sources)
    monkeypatch.setattr("sightline.jepa.ranking.metrics._BLOCK_QUESTIONS", size)
    found = relevant_ranks(scores, relevant(160))
    cosines = toy_dataset.questions @ toy_dataset.sources.T
    for row, (ranks, right) in enumerate(zip(found, relevant(160), strict=True)):
        wrong = np.delete(cosines[row], right)
        ordered = sorted(cosines[row, right], reverse=True)
        assert ranks.tolist() == [place + 1 + int((wrong >= score).sum()) for place, score in enumerate(ordered)]


@pytest.mark.parametrize("size", SIZES)
def test_blocks_cover_every_row_once(monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr("sightline.jepa.ranking.source_index._BLOCK", size)
    for count in (0, 1, 6, 7, 8, 160):
        rows = [row for block in blocks_of(count) for row in range(count)[block]]
        assert rows == list(range(count))


@pytest.mark.parametrize("size", [1, 7, 160])
def test_results_of_a_search_and_evidence(toy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch, size: int):
    index = SourceIndex.from_dataset(toy_dataset)

    def predict(
        question: np.ndarray, steering: np.ndarray, has_steering: np.ndarray, /, **_: object
    ) -> PredictionParts:
        vectors = (question + np.where(has_steering[:, None], steering, 0)).astype(np.float32)
        routing = np.full((len(question), 4), 0.25, np.float32)
        return PredictionParts(vectors=vectors, routing=routing, coarse=vectors, fine=vectors)

    def look() -> tuple[Evidence, np.ndarray]:
        steering, has_steering = toy_dataset.keyword_vectors, np.arange(160) % 2 == 0
        evidence = gather_evidence(predict, index, toy_dataset.questions, steering, has_steering)
        return evidence, search(toy_dataset.questions, index, relevant(160)).ids

    whole, whole_ids = look()
    monkeypatch.setattr("sightline.jepa.ranking.source_index._BLOCK", size)
    monkeypatch.setattr("sightline.jepa.ranking.metrics._BLOCK_QUESTIONS", size)
    parts, ids = look()
    np.testing.assert_array_equal(ids, whole_ids)
    np.testing.assert_array_equal(parts.result_ids, whole.result_ids)
    np.testing.assert_allclose(parts.features, whole.features, atol=5e-3)


@pytest.mark.parametrize("size", [1, 400 * 3])
def test_negatives(toy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch, size: int):
    whole = mine_negatives(toy_dataset, 3, seed=1)
    monkeypatch.setattr(negatives, "_BLOCK_SCORES", size)
    parts = mine_negatives(toy_dataset, 3, seed=1)
    near = whole.tiers < negatives.RANDOM  # random ones are drawn block by block
    np.testing.assert_array_equal(parts.ids[near], whole.ids[near])
    np.testing.assert_array_equal(parts.pair_rows, whole.pair_rows)


@pytest.mark.parametrize("size", [1, 30 * 4, 30 * 13])
def test_signs_of_collapse(monkeypatch: pytest.MonkeyPatch, size: int):
    generator = torch.Generator().manual_seed(0)
    predictions, sources = (normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (13, 30))
    whole = measure_collapse(predictions, sources, k=3)
    monkeypatch.setattr("sightline.jepa.training.collapse._BLOCK_SCORES", size)
    assert measure_collapse(predictions, sources, k=3) == whole


@pytest.mark.parametrize("size", [1, 3, 159, 160])
@pytest.mark.parametrize("row", [0, 2, 3, 159])
def test_the_row_whose_norm_is_wrong(
    make_toy_dataset: Callable[..., SteeringDataset], monkeypatch: pytest.MonkeyPatch, size: int, row: int
):
    monkeypatch.setattr("sightline.jepa.data.dataset._BLOCK_ROWS", size)
    dataset = make_toy_dataset()
    sources = dataset.sources.copy()
    sources[row] *= 1.5
    with pytest.raises(DatasetError, match=rf"sources, row {row}: norm 1\.5 "):
        replace(dataset, sources=sources)
