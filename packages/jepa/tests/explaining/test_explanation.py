from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.jepa.config import JEPAConfig, PredictorConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.decisions import fit_policy
from sightline.jepa.explaining.evidence import gather_evidence, judge
from sightline.jepa.explaining.explanation import Explainer, Explanation, write_explanations
from sightline.jepa.explaining.prediction import index_for, routed_predictions
from sightline.jepa.models.model import JEPAModel, make_predictor


@pytest.fixture(scope="module")
def data(make_easy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_easy_dataset(sources=400)


@pytest.fixture(scope="module")
def explainer(data: SteeringDataset) -> Explainer:
    config = JEPAConfig(model="routed", predictor=PredictorConfig(dimension=16, hidden_dimension=8))
    torch.manual_seed(0)
    tensors = [torch.from_numpy(array.copy()) for array in (data.centroids, data.category_vectors)]
    model = JEPAModel(config, make_predictor(config, *tensors), encoder="toy", names=data.names)
    predict, index = routed_predictions(model), index_for(model, data)
    rows = np.arange(400)
    steering = data.category_vectors[data.source_category]
    evidence = gather_evidence(predict, index, data.questions, steering, rows % 2 == 0)
    policy = fit_policy(evidence.features, judge(evidence, index, data.relevant(rows)), rows)
    return Explainer(predict, index, policy)


def test_an_explanation_says_what_was_found_where_and_how(explainer: Explainer, data: SteeringDataset):
    steering = data.category_vectors[1]
    explanation = explainer.explain(data.questions[7], steering)
    evidence = gather_evidence(
        explainer.predict, explainer.index, data.questions[7:8], steering[None], np.array([True])
    )
    decisions = explainer.policy.decide(evidence.features)
    assert [result.source for result in explanation.results] == evidence.result_ids[0].tolist()
    assert [result.score for result in explanation.results] == pytest.approx(
        (explainer.index.sources[evidence.result_ids[0]] @ np.array(explanation.prediction)).tolist(), abs=1e-5
    )
    assert all(result.subspace == data.names[data.source_category[result.source]] for result in explanation.results)
    assert explanation.primary_subspace == max(
        explanation.routing_distribution, key=lambda name: explanation.routing_distribution[name]
    )
    assert sum(explanation.routing_distribution.values()) == pytest.approx(1, abs=1e-5)
    assert explanation.confidence == pytest.approx(decisions.confidence[0])
    assert explanation.actionable_signal is decisions.signals[0]
    assert explanation.steering_influence == pytest.approx(evidence.steering_influence[0])
    known = explanation.similar_known_pairs[0]
    assert known.source == explainer.index.known_sources[known.known]
    assert known.similarity == pytest.approx(
        float(explainer.index.known_questions[known.known] @ data.questions[7]), abs=1e-5
    )


def test_has_steering_as_none_is_no_steering(explainer: Explainer, data: SteeringDataset):
    explanation = explainer.explain(data.questions[7])
    assert not explanation.has_steering
    assert explanation.steering_influence == explanation.rank_change == 0
    assert explanation.primary_subspace == explanation.primary_without_steering


def test_a_batch_is_explained_as_its_questions_are_alone(explainer: Explainer, data: SteeringDataset):
    steering, has_steering = data.category_vectors[data.source_category[:9]], np.arange(9) % 2 == 0
    batch = explainer.explain_batch(data.questions[:9], steering, has_steering)
    for row, explanation in enumerate(batch):
        alone = explainer.explain(data.questions[row], steering[row] if has_steering[row] else None)
        assert alone.results[0].source == explanation.results[0].source
        assert alone.actionable_signal is explanation.actionable_signal
        assert alone.confidence == pytest.approx(explanation.confidence, abs=1e-4)
        assert alone.routing_distribution == pytest.approx(explanation.routing_distribution, abs=1e-5)


def test_steerings_are_compared_with_none(explainer: Explainer, data: SteeringDataset):
    steerings = {"first": data.category_vectors[0], "third": data.category_vectors[2]}
    compared = explainer.compare_steering(data.questions[3], steerings)
    assert list(compared) == ["without steering", "first", "third"]
    assert [explanation.has_steering for explanation in compared.values()] == [False, True, True]
    assert compared["first"].primary_subspace == "category 0"
    assert compared["third"].primary_subspace == "category 2"
    plain = compared["without steering"].primary_subspace
    assert {explanation.primary_without_steering for explanation in compared.values()} == {plain}


def test_the_label_of_the_unsteered_explanation_is_taken(explainer: Explainer, data: SteeringDataset):
    with pytest.raises(ValueError, match="choose another"):
        explainer.compare_steering(data.questions[3], {"without steering": data.category_vectors[0]})


def test_explanations_survive_the_disk(tmp_path: Path, explainer: Explainer, data: SteeringDataset):
    explanations = [explainer.explain(data.questions[row]) for row in range(3)]
    write_explanations(tmp_path / "explanations.jsonl", explanations)
    lines = (tmp_path / "explanations.jsonl").read_text().splitlines()
    assert [Explanation.model_validate_json(line) for line in lines] == explanations
    assert json.loads(lines[0])["actionable_signal"] in {"trust", "check", "ask", "abstain"}


def test_a_write_that_fails_leaves_no_half_file(
    tmp_path: Path, explainer: Explainer, data: SteeringDataset, monkeypatch: pytest.MonkeyPatch
):
    explanation = explainer.explain(data.questions[0])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_explanations(tmp_path / "explanations.jsonl", [explanation])
    assert not list(tmp_path.iterdir())


def test_a_question_of_another_dimension_is_refused(explainer: Explainer):
    with pytest.raises(ValueError, match=r"\[B, 16\]"):
        explainer.explain(np.zeros(5, dtype=np.float32))
