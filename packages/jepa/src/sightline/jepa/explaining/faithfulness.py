"""Whether an explanation tells the truth about the model: interventions, ablations and controls.

Axes: q questions, K subspaces, n settings. Everything comes per question, so that means can be paired and given
intervals. This module knows a model as a function; it needs no training and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sightline.jepa.data.dataset import unit
from sightline.jepa.explaining.evidence import Evidence
from sightline.jepa.explaining.prediction import PredictFunction
from sightline.jepa.ranking.source_index import SourceIndex, check_questions, check_subspaces, search


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions to test on, with their steering and answers."""

    question: NDArray[np.float32]
    """`[q, D]` float32 unit rows."""
    steering: NDArray[np.float32]
    """`[q, D]` float32 unit rows where there is steering."""
    has_steering: NDArray[np.bool_]
    """`[q]` bool."""
    relevant: Sequence[NDArray[np.int64]]
    """Ids of all true sources of each question."""

    def __len__(self) -> int:
        return len(self.question)


@dataclass(frozen=True, slots=True)
class ForcedRouting:
    """What happens when routing weight is moved to a subspace by hand."""

    weight: NDArray[np.float64]
    """`[n]` float64 share of the routing weight that was moved; 0 leaves the model's own."""
    share: NDArray[np.float64]
    """`[n, q]` float64 share of the first ten results that lie in the forced subspace."""
    reciprocal_rank: NDArray[np.float64]
    """`[n, q]` float64 of the best true source."""


def force_subspace(
    predict: PredictFunction,
    index: SourceIndex,
    asked: Questions,
    forced: NDArray[np.int64],
    *,
    weight: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> ForcedRouting:
    """Move the routing step by step to a subspace: `(1 - weight) own + weight one_hot(forced)`.

    If routing explains the results, the share of results from the forced subspace must grow with the weight, and
    forcing the true subspace must not cost reciprocal rank.

    Args:
        predict: a model whose routing can be overridden.
        index: index to search.
        asked: the questions.
        forced: `[q]` int64 subspaces, for example the true ones, or others.
        weight: settings in [0, 1].

    Raises:
        ValueError: shapes do not fit, or a subspace does not exist.
    """
    check_questions(index, asked.question, asked.steering, asked.has_steering)
    check_subspaces(index, forced, len(asked))
    own = predict(asked.question, asked.steering, asked.has_steering).routing
    one_hot = np.eye(len(index.names), dtype=np.float32)[forced]
    shares, reciprocal_ranks = [], []
    for moved in weight:
        routing = ((1 - moved) * own + moved * one_hot).astype(np.float32)
        found = search(
            predict(asked.question, asked.steering, asked.has_steering, routing=routing).vectors, index, asked.relevant
        )
        shares.append(found.share_from(forced, index))
        reciprocal_ranks.append(found.reciprocal_rank)
    return ForcedRouting(np.array(weight, dtype=np.float64), np.stack(shares), np.stack(reciprocal_ranks))


@dataclass(frozen=True, slots=True)
class PartAblation:
    """What each part of a prediction finds alone."""

    full: NDArray[np.float64]
    """`[q]` float64 reciprocal rank of the prediction."""
    coarse_only: NDArray[np.float64]
    """`[q]` float64 the same of what the routing gives alone: the coarse part, and what subspaces add."""
    fine_only: NDArray[np.float64]
    """`[q]` float64 the same of the fine part alone."""
    first_kept_by_coarse: NDArray[np.bool_]
    """`[q]` bool, the coarse part alone has the same first result. One minus its mean is the reliance on the side
    channel: the share of answers that routing does not account for.
    """
    first_kept_by_fine: NDArray[np.bool_]
    """`[q]` bool, the fine part alone has the same first result. One minus its mean is how often routing decides the
    answer.
    """


def ablate_parts(predict: PredictFunction, index: SourceIndex, asked: Questions) -> PartAblation:
    """Search with the whole prediction, with its coarse part alone and with its fine part alone.

    Raises:
        ValueError: shapes do not fit, or a question has no true source.
    """
    check_questions(index, asked.question, asked.steering, asked.has_steering)
    parts = predict(asked.question, asked.steering, asked.has_steering)
    prior = parts.vectors[:, parts.coarse.shape[1] :]
    without_fine = np.concatenate([unit(parts.coarse), prior], axis=1)
    without_routing = np.concatenate([unit(parts.fine), np.zeros_like(prior)], axis=1)
    full, coarse, fine = (
        search(vectors, index, asked.relevant) for vectors in (parts.vectors, without_fine, without_routing)
    )
    return PartAblation(
        full=full.reciprocal_rank,
        coarse_only=coarse.reciprocal_rank,
        fine_only=fine.reciprocal_rank,
        first_kept_by_coarse=coarse.ids[:, 0] == full.ids[:, 0],
        first_kept_by_fine=fine.ids[:, 0] == full.ids[:, 0],
    )


@dataclass(frozen=True, slots=True)
class RoutingAblation:
    """How much of the results the largest routing weights account for, beside as many random subspaces.

    Results are compared by the share of the model's first ten that are still among the first ten.
    """

    sufficiency: NDArray[np.float64]
    """`[q]` float64 share kept when only the largest weights are left."""
    sufficiency_random: NDArray[np.float64]
    """`[q]` float64 the same for random subspaces."""
    comprehensiveness: NDArray[np.float64]
    """`[q]` float64 share lost when the largest weights are removed."""
    comprehensiveness_random: NDArray[np.float64]
    """`[q]` float64 the same for random subspaces."""


def ablate_routing(
    predict: PredictFunction, index: SourceIndex, asked: Questions, *, largest: int = 1, seed: int = 0
) -> RoutingAblation:
    """Keep or remove the largest routing weights, renormalise, and search (ERASER, DeYoung et al. 2020, section 4).

    Values are comparable between models only beside their random counterparts.

    Args:
        predict: a model whose routing can be overridden.
        index: index to search.
        asked: the questions.
        largest: number of weights to keep or remove, in [1, K - 1].
        seed: seed of the random subspaces.

    Raises:
        ValueError: shapes do not fit, or largest is out of range.
    """
    check_questions(index, asked.question, asked.steering, asked.has_steering)
    count = len(index.names)
    if not 1 <= largest < count:
        raise ValueError(f"largest must be in [1, {count - 1}], not {largest!r}")
    parts = predict(asked.question, asked.steering, asked.has_steering)
    reference = search(parts.vectors, index, asked.relevant).ids
    order = np.argsort(-parts.routing, axis=1, kind="stable")[:, :largest]
    random = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (len(asked), 1)), axis=1)[:, :largest]

    def kept(chosen: NDArray[np.int64], *, remove: bool) -> NDArray[np.float64]:
        mask = np.zeros_like(parts.routing, dtype=bool)
        np.put_along_axis(mask, chosen, True, axis=1)
        weights = np.where(mask != remove, np.maximum(parts.routing, 1e-12), 0.0)
        routing = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        vectors = predict(asked.question, asked.steering, asked.has_steering, routing=routing).vectors
        return overlap(reference, search(vectors, index, asked.relevant).ids)

    return RoutingAblation(
        sufficiency=kept(order, remove=False),
        sufficiency_random=kept(random, remove=False),
        comprehensiveness=1.0 - kept(order, remove=True),
        comprehensiveness_random=1.0 - kept(random, remove=True),
    )


@dataclass(frozen=True, slots=True)
class RoutingControl:
    """How much of a model's explanations a control with another router repeats."""

    same_primary: NDArray[np.bool_]
    """`[q]` bool, both name the same primary subspace."""
    correlation: NDArray[np.float64]
    """`[q]` float64 Spearman correlation of the two rows of routing weights."""
    overlap: NDArray[np.float64]
    """`[q]` float64 share of the first ten results that both have."""


def compare_with_control(
    predict: PredictFunction, control: PredictFunction, index: SourceIndex, asked: Questions
) -> RoutingControl:
    """Compare a model with one whose router was randomised (Adebayo et al. 2018).

    Explanations that survive do not come from the router.

    Args:
        predict: the model.
        control: control, for example of `sightline.jepa.explaining.prediction.with_random_router`.
        index: index to search.
        asked: the questions.

    Raises:
        ValueError: shapes do not fit.
    """
    check_questions(index, asked.question, asked.steering, asked.has_steering)
    first, second = (model(asked.question, asked.steering, asked.has_steering) for model in (predict, control))
    ids = [search(parts.vectors, index, asked.relevant).ids for parts in (first, second)]
    correlations = [correlation_of_ranks(own, other) for own, other in zip(first.routing, second.routing, strict=True)]
    return RoutingControl(
        same_primary=first.routing.argmax(axis=1) == second.routing.argmax(axis=1),
        correlation=np.array(correlations),
        overlap=overlap(*ids),
    )


def influence_agreement(evidence: Evidence) -> float:
    """Correlate (Spearman), over steered questions, stated influence (KL) and measured change of ranks.

    NaN where fewer than three questions are steered, or one of the two never varies.
    """
    steered = evidence.feature("has_steering") > 0
    return correlation_of_ranks(evidence.steering_influence[steered], evidence.rank_change[steered])


def correlation_of_ranks(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return Spearman's correlation of two `[n]` arrays, ties sharing their mean rank; NaN where undefined."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def overlap(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the ids in each row of `first [q, k]` that are in the same row of `second [q, k]`; `[q]`."""
    return (first[:, :, None] == second[:, None, :]).any(axis=2).mean(axis=1)
