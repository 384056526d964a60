from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sightline.jepa.config import LossConfig
from sightline.jepa.losses.losses import (
    Temperature,
    batch_info_nce,
    candidate_info_nce,
    centroid_loss,
    corpus_info_nce,
    distillation_loss,
    regression_loss,
    steering_loss,
    vicreg_loss,
)

DIMENSION, CORPUS, COUNT = 24, 200, 64


def unit(rows: int, seed: int, dimension: int = DIMENSION) -> torch.Tensor:
    return normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)), dim=1)


SOURCES = unit(CORPUS, 0)
TARGETS = torch.arange(COUNT)
NOTHING_ELSE = (TARGETS[:0], TARGETS[:0])
CONSTANT = normalize(SOURCES.mean(dim=0, keepdim=True), dim=1).expand(COUNT, DIMENSION)
PERFECT = SOURCES[:COUNT]
UNRELATED = unit(COUNT, 9)  # a predictor that ignores its input: no more to do with its target than with any other


def slow_info_nce(
    predictions: np.ndarray, corpus: np.ndarray, targets: list[int], others: list[set[int]], temperature: float
) -> float:
    total = 0.0
    for row, target in enumerate(targets):
        candidates = [s for s in range(len(corpus)) if s not in others[row]]
        weights = {s: math.exp(float(predictions[row] @ corpus[s]) / temperature) for s in candidates}
        total -= math.log(weights[target] / sum(weights.values()))
    return total / len(targets)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_corpus_info_nce_agrees_with_a_slow_computation(data: st.DataObject):
    count, size = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 8))
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=count, max_size=count))
    others = [data.draw(st.sets(st.integers(0, size - 1))) - {target} for target in targets]
    predictions, corpus = unit(count, 3, 4).double(), unit(size, 4, 4).double()
    rows = torch.tensor([row for row, ids in enumerate(others) for _ in ids], dtype=torch.int64)
    columns = torch.tensor([source for ids in others for source in ids], dtype=torch.int64)
    loss = corpus_info_nce(predictions, corpus, torch.tensor(targets), (rows, columns), 0.2)["loss"]
    expected = slow_info_nce(predictions.numpy(), corpus.numpy(), targets, others, 0.2)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_added_scores_count_like_further_coordinates():
    predictions, corpus = unit(5, 3, 4), unit(7, 4, 4)
    targets, nothing = torch.arange(5), (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    prior, category = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 3
    found = corpus_info_nce(predictions, corpus, targets, nothing, 0.2, added=prior[:, category])["loss"]
    wide = torch.cat([predictions, prior], dim=1), torch.cat([corpus, torch.eye(3)[category]], dim=1)
    torch.testing.assert_close(found, corpus_info_nce(*wide, targets, nothing, 0.2)["loss"])


def test_a_constant_prediction_cannot_beat_chance_against_the_corpus():
    loss = corpus_info_nce(CONSTANT, SOURCES, TARGETS, NOTHING_ELSE, 0.05)["loss"]
    assert loss > math.log(CORPUS) - 0.5


def test_no_single_vector_learns_to_do_well_against_the_corpus():
    vector = torch.randn(1, DIMENSION, generator=torch.Generator().manual_seed(5), requires_grad=True)
    optimizer = torch.optim.Adam([vector], lr=0.05)
    everything = torch.arange(CORPUS)
    for _ in range(150):
        optimizer.zero_grad()
        constant = normalize(vector, dim=1).expand(CORPUS, DIMENSION)
        loss = corpus_info_nce(constant, SOURCES, everything, NOTHING_ELSE, 0.05)["loss"]
        loss.backward()
        optimizer.step()
    assert loss > math.log(CORPUS) - 1e-3  # by Jensen's inequality


def test_a_prediction_that_ignores_its_input_is_at_chance_or_worse_and_a_perfect_one_near_zero():
    ignoring = corpus_info_nce(UNRELATED, SOURCES, TARGETS, NOTHING_ELSE, 0.05)
    perfect = corpus_info_nce(PERFECT, SOURCES, TARGETS, NOTHING_ELSE, 0.05)
    assert ignoring["loss"] > math.log(CORPUS)
    assert ignoring["accuracy"] < 0.1
    assert perfect["loss"] < 0.01
    assert perfect["accuracy"] == 1.0


def test_known_answers_are_no_negatives():
    corpus = torch.cat([SOURCES, PERFECT])  # every true source has a copy
    masked = corpus_info_nce(PERFECT, corpus, TARGETS, (TARGETS, TARGETS + CORPUS), 0.05)
    unmasked = corpus_info_nce(PERFECT, corpus, TARGETS, NOTHING_ELSE, 0.05)
    assert masked["loss"] < 0.01
    assert unmasked["loss"] > math.log(2) - 0.01


def test_label_smoothing_spreads_over_all_candidates():
    plain = corpus_info_nce(PERFECT, SOURCES, TARGETS, NOTHING_ELSE, 0.1)["loss"]
    smoothed = corpus_info_nce(PERFECT, SOURCES, TARGETS, NOTHING_ELSE, 0.1, label_smoothing=0.1)["loss"]
    expected = torch.nn.functional.cross_entropy(PERFECT @ SOURCES.T / 0.1, TARGETS, label_smoothing=0.1)
    torch.testing.assert_close(smoothed, expected)
    assert smoothed > plain


def test_batch_info_nce_is_the_mean_of_both_directions():
    predictions, sources = unit(6, 1).double(), unit(6, 2).double()
    parts = batch_info_nce(predictions, sources, torch.eye(6, dtype=torch.bool), 0.1)
    nothing: list[set[int]] = [set() for _ in range(6)]
    forward = slow_info_nce(predictions.numpy(), sources.numpy(), list(range(6)), nothing, 0.1)
    backward = slow_info_nce(sources.numpy(), predictions.numpy(), list(range(6)), nothing, 0.1)
    assert float(parts["forward"]) == pytest.approx(forward)
    assert float(parts["backward"]) == pytest.approx(backward)
    assert float(parts["loss"]) == pytest.approx((forward + backward) / 2)


def test_batch_info_nce_leaves_out_other_true_pairs_in_both_directions():
    predictions = torch.cat([PERFECT[:4], PERFECT[:4]])
    positive = torch.eye(4, dtype=torch.bool).repeat(2, 2)
    masked = batch_info_nce(predictions, predictions, positive, 0.05)
    unmasked = batch_info_nce(predictions, predictions, torch.eye(8, dtype=torch.bool), 0.05)
    assert masked["loss"] < 0.01
    assert unmasked["loss"] > math.log(2) - 0.01


def test_a_source_that_answers_another_question_is_left_out_for_that_question_and_not_the_other_way_round():
    predictions, sources = unit(6, 1).double(), unit(6, 2).double()
    positive = torch.eye(6, dtype=torch.bool)
    positive[0, 3] = positive[0, 4] = positive[5, 1] = True  # question 0 has three answers, question 5 two
    parts = batch_info_nce(predictions, sources, positive, 0.1)
    answers = [set(row.nonzero().flatten().tolist()) - {place} for place, row in enumerate(positive)]
    asked = [set(row.nonzero().flatten().tolist()) - {place} for place, row in enumerate(positive.T)]
    forward = slow_info_nce(predictions.numpy(), sources.numpy(), list(range(6)), answers, 0.1)
    backward = slow_info_nce(sources.numpy(), predictions.numpy(), list(range(6)), asked, 0.1)
    assert float(parts["forward"]) == pytest.approx(forward)
    assert float(parts["backward"]) == pytest.approx(backward)


def test_mined_negatives_count_in_the_direction_of_the_sources():
    own = torch.eye(COUNT, dtype=torch.bool)
    without = batch_info_nce(PERFECT, PERFECT, own, 0.05)
    hard = normalize(PERFECT + 0.1 * UNRELATED, dim=1)[:, None]
    with_mined = batch_info_nce(PERFECT, PERFECT, own, 0.05, mined=hard)
    assert with_mined["forward"] > without["forward"] + 0.1
    assert with_mined["backward"] == without["backward"]


def test_shared_mined_negatives_count_for_every_row_but_those_whose_question_they_answer():
    predictions, sources, mined = unit(6, 1).double(), unit(6, 2).double(), unit(3, 9).double()
    known = torch.zeros(6, 3, dtype=torch.bool)
    known[2, 1] = True
    parts = batch_info_nce(predictions, sources, torch.eye(6, dtype=torch.bool), 0.1, mined, known)
    others: list[set[int]] = [set() for _ in range(6)]
    others[2] = {7}
    candidates = torch.cat([sources, mined]).numpy()
    assert float(parts["forward"]) == pytest.approx(
        slow_info_nce(predictions.numpy(), candidates, list(range(6)), others, 0.1)
    )
    alone = batch_info_nce(predictions, sources, torch.eye(6, dtype=torch.bool), 0.1, mined.expand(6, 3, DIMENSION))
    shared = batch_info_nce(predictions, sources, torch.eye(6, dtype=torch.bool), 0.1, mined)
    torch.testing.assert_close(shared["loss"], alone["loss"])


def test_a_constant_prediction_is_at_chance_within_a_batch():
    loss = batch_info_nce(CONSTANT, PERFECT, torch.eye(COUNT, dtype=torch.bool), 0.05)["loss"]
    assert loss >= math.log(COUNT) - 0.3


def test_one_pair_without_mined_negatives_is_refused():
    with pytest.raises(ValueError, match="nothing to be contrasted"):
        batch_info_nce(PERFECT[:1], PERFECT[:1], torch.ones(1, 1, dtype=torch.bool), 0.05)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one prediction"):
        corpus_info_nce(PERFECT[:0], SOURCES, TARGETS[:0], (TARGETS[:0], TARGETS[:0]), 0.05)


@pytest.mark.parametrize("kind", ["cosine", "smooth_l1"])
def test_regression_is_zero_for_the_target_and_has_a_floor_for_those_who_ignore_the_input(kind: str):
    perfect = regression_loss(PERFECT, PERFECT, kind)
    assert perfect["loss"] == pytest.approx(0.0, abs=1e-6)
    assert perfect["cosine"] == pytest.approx(1.0)
    floor = {"cosine": 0.8, "smooth_l1": 0.3}[kind]
    for constant_or_unrelated in (CONSTANT, UNRELATED):
        assert regression_loss(constant_or_unrelated, PERFECT, kind)["loss"] > floor


def test_smooth_l1_does_not_shrink_with_the_dimension():
    small, large = (regression_loss(unit(500, 1, d), unit(500, 2, d), "smooth_l1")["loss"] for d in (16, 384))
    assert small == pytest.approx(float(large), rel=0.1)


def test_an_unknown_kind_or_other_shapes_are_refused():
    with pytest.raises(ValueError, match="'l7'"):
        regression_loss(PERFECT, PERFECT, "l7")
    with pytest.raises(ValueError, match="differ in shape"):
        regression_loss(PERFECT, PERFECT[:3])


def test_centroid_loss_knows_the_nearest_centroid_and_its_floor():
    centroids = unit(8, 7)
    category = torch.arange(COUNT) % 8
    right = centroid_loss(centroids[category], centroids, category)
    constant = centroid_loss(CONSTANT, centroids, category)
    assert right["accuracy"] == 1.0
    assert right["loss"] < 0.3
    assert constant["loss"] >= math.log(8) - 1e-4
    assert constant["accuracy"] == pytest.approx(1 / 8)


def test_steering_directions_that_are_a_soft_filter_have_a_low_loss_and_constant_ones_the_floor():
    category = torch.arange(CORPUS) % 4
    centres = unit(4, 7)
    sources = normalize(centres[category] + 0.5 * SOURCES, dim=1)
    right = steering_loss(centres, sources, category, 0.05)
    constant = steering_loss(centres[:1].expand(4, -1), sources, category, 0.05)
    assert right["accuracy"] > 0.95
    assert right["loss"] < 0.2
    assert constant["loss"] == pytest.approx(math.log(4))


def test_the_steering_loss_is_the_negative_log_posterior_of_the_category():
    directions, sources, category = unit(3, 7).double(), SOURCES[:5].double(), torch.tensor([0, 2, 1, 1, 0])
    weights = np.exp((sources @ directions.T).numpy() / 0.2)
    posterior = weights / weights.sum(axis=1, keepdims=True)
    expected = -np.log(posterior[np.arange(5), category.numpy()]).mean()
    assert float(steering_loss(directions, sources, category, 0.2)["loss"]) == pytest.approx(expected)


def test_vicreg_is_what_numpy_makes_of_the_papers_equations():
    predictions, targets = unit(40, 3).double(), unit(40, 4).double()
    scaled, wanted = (rows.numpy() * math.sqrt(DIMENSION) for rows in (predictions, targets))
    covariances = np.cov(scaled, rowvar=False)
    variance = np.maximum(0, 1 - np.sqrt(np.var(scaled, axis=0, ddof=1) + 1e-4)).mean()
    covariance = (np.square(covariances).sum() - np.square(np.diag(covariances)).sum()) / DIMENSION
    invariance = np.square(scaled - wanted).mean()
    found = vicreg_loss(predictions, targets, 25.0, 25.0, 1.0)
    for name, expected in (("variance", variance), ("covariance", covariance), ("invariance", invariance)):
        assert float(found[name]) == pytest.approx(expected), name
    assert float(found["loss"]) == pytest.approx((25 * variance + 25 * invariance + covariance) / 51)


def test_the_variance_term_can_be_satisfied_by_unit_vectors_and_not_by_a_constant():
    spread = vicreg_loss(unit(4000, 3), unit(4000, 3))
    assert spread["variance"] < 0.02
    assert spread["covariance"] < 0.1
    assert spread["invariance"] == pytest.approx(0.0, abs=1e-6)
    assert vicreg_loss(CONSTANT, PERFECT)["variance"] > 0.95


def test_the_covariance_term_sees_coordinates_that_repeat_each_other():
    half = unit(500, 3, DIMENSION // 2)
    repeated = torch.cat([half, half], dim=1) / math.sqrt(2)
    assert vicreg_loss(repeated, repeated)["covariance"] > 0.5


def test_vicreg_pulls_a_collapsed_prediction_apart():
    rows = (CONSTANT + 0.01 * UNRELATED).clone().requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        vicreg_loss(normalize(rows, dim=1), PERFECT, invariance_weight=0.0)["loss"].backward()
        optimizer.step()
    assert vicreg_loss(normalize(rows, dim=1).detach(), PERFECT)["variance"] < 0.1


def test_variance_of_one_row_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        vicreg_loss(PERFECT[:1], PERFECT[:1])


def test_temperature_starts_where_told_and_stays_in_bounds():
    temperature = Temperature(LossConfig(temperature=0.05))
    assert float(temperature().detach()) == pytest.approx(0.05)
    with torch.no_grad():
        temperature.logarithm.fill_(-20.0)
    assert float(temperature().detach()) == pytest.approx(0.01)
    assert not Temperature(LossConfig(learn_temperature=False)).logarithm.requires_grad


@pytest.mark.parametrize(
    "parts",
    [
        regression_loss(PERFECT.clone().requires_grad_(), SOURCES[:COUNT]),
        corpus_info_nce(PERFECT.clone().requires_grad_(), SOURCES, TARGETS, NOTHING_ELSE, 0.05),
        batch_info_nce(PERFECT.clone().requires_grad_(), PERFECT, torch.eye(COUNT, dtype=torch.bool), 0.05),
        centroid_loss(PERFECT.clone().requires_grad_(), SOURCES[:5], TARGETS % 5),
        steering_loss(SOURCES[:5].clone().requires_grad_(), PERFECT, TARGETS % 5, 0.1),
        vicreg_loss(PERFECT.clone().requires_grad_(), PERFECT),
    ],
)
def test_only_the_loss_itself_has_gradients(parts: dict[str, torch.Tensor]):
    assert parts["loss"].requires_grad
    assert [name for name, value in parts.items() if name != "loss" and value.requires_grad] == []
    assert all(value.ndim == 0 for value in parts.values())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_candidate_info_nce_agrees_with_a_slow_computation(data: st.DataObject):
    rows = data.draw(st.integers(1, 4))
    scores = torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    there = [data.draw(st.sets(st.integers(0, 5), min_size=1)) for _ in range(rows)]
    right = [data.draw(st.sets(st.sampled_from(sorted(each)), min_size=1)) for each in there]
    mask, positive = (
        torch.tensor([[column in each for column in range(6)] for each in sets]) for sets in (there, right)
    )
    found = candidate_info_nce(scores, positive, mask, 0.3)
    weights = [
        {column: math.exp(float(scores[row, column]) / 0.3) for column in each} for row, each in enumerate(there)
    ]
    shares = [
        sum(weights[row][column] for column in each) / sum(weights[row].values()) for row, each in enumerate(right)
    ]
    assert float(found["loss"]) == pytest.approx(-np.mean(np.log(shares)), abs=1e-9)
    best = [max(each, key=each.__getitem__) for each in weights]
    assert float(found["accuracy"]) == pytest.approx(np.mean([best[row] in right[row] for row in range(rows)]))


def test_what_is_masked_out_has_no_part_in_the_loss_nor_in_any_gradient():
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    temperature = torch.tensor(0.1, requires_grad=True)
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    positive = torch.arange(5) < 1
    loss = candidate_info_nce(scores, positive.expand(3, 5), mask, temperature)["loss"]
    loss.backward()
    assert scores.grad is not None
    assert not scores.grad[~mask].any()
    assert not scores.grad[2].any()  # a single candidate is certain
    assert temperature.grad is not None
    assert temperature.grad.isfinite()


@pytest.mark.parametrize("positive", [torch.zeros(2, 3, dtype=torch.bool), torch.tensor([[1, 0, 0], [0, 0, 1]]).bool()])
def test_rows_without_a_right_candidate_are_refused(positive: torch.Tensor):
    mask = torch.tensor([[True, True, True], [True, True, False]])
    with pytest.raises(ValueError, match="needs a right candidate"):
        candidate_info_nce(torch.zeros(2, 3), positive, mask, 0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.floats(0.5, 5.0), st.integers(0, 100))
def test_distillation_is_the_divergence_that_torch_computes(rows: int, candidates: int, temperature: float, seed: int):
    student, teacher = (3 * torch.randn(rows, candidates, generator=_generator(seed + each)) for each in range(2))
    found = distillation_loss(student, teacher, temperature)["loss"]
    wanted = torch.softmax(teacher / temperature, dim=1)
    own = torch.log_softmax(student / temperature, dim=1)
    expected = temperature**2 * torch.nn.functional.kl_div(own, wanted, reduction="batchmean")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_distillation_has_the_gradient_of_finite_differences_and_none_for_the_teacher():
    student, teacher = (torch.randn(3, 4, dtype=torch.float64, generator=_generator(each)) for each in range(2))
    student.requires_grad_(True)
    teacher.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda scores: distillation_loss(scores, teacher.detach(), 2.0)["loss"], student)
    distillation_loss(student, teacher, 2.0)["loss"].backward()
    assert teacher.grad is None


def test_distillation_is_nothing_where_student_and_teacher_agree_but_for_a_constant():
    scores = torch.randn(3, 4, generator=_generator(0))
    parts = distillation_loss(scores, scores + torch.tensor([[1.0], [-2.0], [5.0]]), 0.7)
    assert float(parts["loss"]) == pytest.approx(0, abs=1e-6)
    assert float(parts["agreement"]) == 1
    for wrong in (scores[:, :2], scores[:0]):
        with pytest.raises(ValueError, match="one shape"):
            distillation_loss(wrong, scores if len(wrong) else wrong)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
