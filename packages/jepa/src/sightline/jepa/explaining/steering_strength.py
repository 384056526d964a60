"""How far a model follows its steering, as a curve over the steering strength, and what that costs.

Knows a model as a function, and steering as vectors that belong to subspaces; where they come from is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.explaining.prediction import PredictFunction
from sightline.jepa.ranking.source_index import SourceIndex, check_questions, check_subspaces, search


@dataclass(frozen=True, slots=True)
class SteeringStrengthCurve:
    """What n steering strengths do to q questions; per question, so that means can be paired and given intervals."""

    steering_strength: NDArray[np.float64]
    """`[n]` float64 settings."""
    share: NDArray[np.float64]
    """`[n, q]` float64 share of the first ten results that lie in the subspace steered to."""
    reciprocal_rank: NDArray[np.float64]
    """`[n, q]` float64 of the best true source."""

    @property
    def mean_share(self) -> NDArray[np.float64]:
        """`[n]`."""
        return self.share.mean(axis=1)

    @property
    def mean_reciprocal_rank(self) -> NDArray[np.float64]:
        """MRR, `[n]`."""
        return self.reciprocal_rank.mean(axis=1)


def measure_steering_strength(
    predict: PredictFunction,
    index: SourceIndex,
    question: NDArray[np.float32],
    steering: NDArray[np.float32],
    subspace: NDArray[np.int64],
    relevant: Sequence[NDArray[np.int64]],
    *,
    steering_strength: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
) -> SteeringStrengthCurve:
    """Predict with several steering strengths and see where the results go.

    Call it once with the true steering and once with deliberately changed steering: the share under changed steering
    says how far the model follows, the loss of MRR under true steering is the price of a setting, and the loss under
    changed steering is what a mistaken caller pays.

    Args:
        predict: model as a function.
        index: index to search.
        question: `[q, D]` float32 unit rows.
        steering: `[q, D]` float32 unit rows, given for every question.
        subspace: `[q]` int64, where each row of the steering points to.
        relevant: ids of all true sources of each question.
        steering_strength: settings; 0 ignores the steering, 1 is as trained.

    Raises:
        ValueError: shapes do not fit, a subspace does not exist, or a question has no true source.
    """
    has_steering = np.ones(len(question), dtype=np.bool_)
    check_questions(index, question, steering, has_steering)
    check_subspaces(index, subspace, len(question))
    found = [
        search(predict(question, steering, has_steering, steering_strength=setting).vectors, index, relevant)
        for setting in steering_strength
    ]
    return SteeringStrengthCurve(
        steering_strength=np.array(steering_strength, dtype=np.float64),
        share=np.stack([each.share_from(subspace, index) for each in found]),
        reciprocal_rank=np.stack([each.reciprocal_rank for each in found]),
    )
