from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.evidence import gather_evidence
from sightline.jepa.explaining.faithfulness import (
    Questions,
    ablate_parts,
    ablate_routing,
    compare_with_control,
    correlation_of_ranks,
    force_subspace,
    influence_agreement,
    overlap,
)
from sightline.jepa.explaining.prediction import PredictionParts
from sightline.jepa.ranking.source_index import SourceIndex


class Toy:
    """``unit(reliance * routing @ centroids + question)``: how much the routing counts is known."""

    def __init__(self, centroids: np.ndarray, reliance: float, sharpness: float = 6.0) -> None:
        self.centroids, self.reliance, self.sharpness = centroids, reliance, sharpness

    def __call__(self, question, steering, has_steering, /, *, steering_strength=1.0, routing=None) -> PredictionParts:
        asked = question + steering_strength * np.where(has_steering[:, None], steering, 0)
        if routing is None:
            weights = np.exp(self.sharpness * asked @ self.centroids.T)
            routing = weights / weights.sum(axis=1, keepdims=True)
        coarse = self.reliance * routing @ self.centroids
        whole = coarse + question
        vectors = whole / np.linalg.norm(whole, axis=1, keepdims=True)
        return PredictionParts(*(each.astype(np.float32) for each in (vectors, routing, coarse, question)))


@pytest.fixture
def index(easy_dataset: SteeringDataset) -> SourceIndex:
    return SourceIndex.from_dataset(easy_dataset)


@pytest.fixture
def asked(easy_dataset: SteeringDataset) -> Questions:
    rows = np.arange(160)
    steering = easy_dataset.category_vectors[easy_dataset.source_category]
    return Questions(easy_dataset.questions, steering, rows % 2 == 0, easy_dataset.relevant(rows))


def test_forcing_a_subspace_moves_the_results_of_a_model_that_relies_on_routing(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    other = (easy_dataset.source_category + 1) % 4
    forced = force_subspace(Toy(easy_dataset.centroids, 3.0), index, asked, other)
    assert (np.diff(forced.share.mean(axis=1)) > 0).all()
    assert forced.share[-1].mean() > 0.9
    assert forced.reciprocal_rank[-1].mean() < forced.reciprocal_rank[0].mean()


def test_forcing_the_true_subspace_helps(easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions):
    forced = force_subspace(Toy(easy_dataset.centroids, 1.0), index, asked, easy_dataset.source_category)
    assert forced.reciprocal_rank[-1].mean() > forced.reciprocal_rank[0].mean()


def test_forcing_changes_nothing_in_a_model_that_only_pretends_to_route(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    forced = force_subspace(Toy(easy_dataset.centroids, 0.0), index, asked, easy_dataset.source_category)
    assert np.ptp(forced.share, axis=0).max() == 0
    assert np.ptp(forced.reciprocal_rank, axis=0).max() == 0


def test_no_weight_moved_is_the_model_itself(easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions):
    toy = Toy(easy_dataset.centroids, 1.0)
    forced = force_subspace(toy, index, asked, easy_dataset.source_category, weight=(0.0,))
    assert np.array_equal(forced.reciprocal_rank[0], ablate_parts(toy, index, asked).full)


def test_parts_are_searched_alone(easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions):
    parts = ablate_parts(Toy(easy_dataset.centroids, 0.5), index, asked)
    alone = ablate_parts(Toy(easy_dataset.centroids, 0.0), index, asked)
    assert np.array_equal(parts.fine_only, alone.full)
    assert parts.full.mean() > parts.coarse_only.mean()


def test_a_model_without_coarse_part_answers_by_its_side_channel(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    leaky = ablate_parts(Toy(easy_dataset.centroids, 1e-4), index, asked)
    honest = ablate_parts(Toy(easy_dataset.centroids, 1e4), index, asked)
    assert leaky.first_kept_by_fine.all()
    assert leaky.first_kept_by_coarse.mean() < 0.5
    assert honest.first_kept_by_coarse.mean() > 0.95
    assert honest.first_kept_by_fine.mean() < 0.5


def test_the_largest_weights_account_for_more_than_random_ones(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    ablation = ablate_routing(Toy(easy_dataset.centroids, 2.0), index, asked)
    assert ablation.sufficiency.mean() > ablation.sufficiency_random.mean() + 0.2
    assert ablation.comprehensiveness.mean() > ablation.comprehensiveness_random.mean() + 0.2


def test_in_a_model_that_ignores_its_routing_no_weight_accounts_for_anything(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    ablation = ablate_routing(Toy(easy_dataset.centroids, 0.0), index, asked)
    assert ablation.sufficiency.min() == ablation.sufficiency_random.min() == 1
    assert ablation.comprehensiveness.max() == ablation.comprehensiveness_random.max() == 0


def test_all_weights_cannot_be_removed(easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions):
    with pytest.raises(ValueError, match=r"largest must be in \[1, 3\]"):
        ablate_routing(Toy(easy_dataset.centroids, 1.0), index, asked, largest=4)


def test_a_model_repeats_all_of_its_own_explanations_and_few_of_a_randomised_one(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    model = Toy(easy_dataset.centroids, 2.0)
    random = np.random.default_rng(99).normal(size=(4, 16)) / 4

    class Randomised(Toy):
        def __call__(
            self, question, steering, has_steering, /, *, steering_strength=1.0, routing=None
        ) -> PredictionParts:
            own = np.exp(20 * question @ random.T)
            own = own / own.sum(axis=1, keepdims=True)
            return super().__call__(question, steering, has_steering, routing=own if routing is None else routing)

    itself = compare_with_control(model, model, index, asked)
    control = compare_with_control(model, Randomised(easy_dataset.centroids, 2.0), index, asked)
    assert itself.same_primary.all()
    assert itself.correlation == pytest.approx(1)
    assert itself.overlap.min() == 1
    assert control.same_primary.mean() < 0.5
    assert abs(control.correlation.mean()) < 0.35
    assert control.overlap.mean() < 0.6


def test_influence_that_follows_the_ranks_agrees_with_them(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    evidence = gather_evidence(
        Toy(easy_dataset.centroids, 2.0), index, asked.question, asked.steering, asked.has_steering
    )
    rho = influence_agreement(evidence)
    steered = asked.has_steering
    assert rho == pytest.approx(spearmanr(evidence.steering_influence[steered], evidence.rank_change[steered])[0])
    assert rho > 0.5
    reversed_influence = replace(evidence, steering_influence=-evidence.steering_influence)
    assert influence_agreement(reversed_influence) == pytest.approx(-rho)


def test_without_steered_questions_there_is_no_agreement_to_speak_of(
    easy_dataset: SteeringDataset, index: SourceIndex, asked: Questions
):
    none = np.zeros(160, dtype=bool)
    evidence = gather_evidence(Toy(easy_dataset.centroids, 2.0), index, asked.question, asked.steering, none)
    assert np.isnan(influence_agreement(evidence))


def test_ties_share_their_rank():
    first, second = np.array([1.0, 1.0, 2.0, 5.0]), np.array([3.0, 1.0, 2.0, 2.0])
    assert correlation_of_ranks(first, second) == pytest.approx(spearmanr(first, second)[0])


def test_the_overlap_counts_shared_ids_in_any_order():
    assert overlap(np.array([[1, 2, 3, 4]]), np.array([[4, 9, 1, 8]])).tolist() == [0.5]
