"""How far a model follows its steering, as a curve over the dial, and what that costs.

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
class ObedienceCurve:
    """What n settings of the dial do to q questions; per question, so that means can be paired and given intervals.

    Attributes:
        obedience: `[n]` float64 settings.
        share: `[n, q]` float64 share of the first ten results that lie in the subspace steered to.
        reciprocal_rank: `[n, q]` float64 of the best true source.
    """

    obedience: NDArray[np.float64]
    share: NDArray[np.float64]
    reciprocal_rank: NDArray[np.float64]

    @property
    def mean_share(self) -> NDArray[np.float64]:
        """`[n]`."""
        return self.share.mean(axis=1)

    @property
    def mean_reciprocal_rank(self) -> NDArray[np.float64]:
        """MRR, `[n]`."""
        return self.reciprocal_rank.mean(axis=1)


def measure_obedience(
    predict: PredictFunction,
    index: SourceIndex,
    question: NDArray[np.float32],
    steering: NDArray[np.float32],
    subspace: NDArray[np.int64],
    relevant: Sequence[NDArray[np.int64]],
    *,
    obedience: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
) -> ObedienceCurve:
    """Turn the dial and see where the results go.

    Call it once with the true steering and once with deliberately changed steering: the share under changed steering
    is obedience proper, the loss of MRR under true steering is the price of a setting, and the loss under changed
    steering is what a mistaken caller pays.

    Args:
        predict: the model.
        index: what is searched.
        question: `[q, D]` float32 unit rows.
        steering: `[q, D]` float32 unit rows, given for every question.
        subspace: `[q]` int64, where each row of the steering points to.
        relevant: for each question the ids of all its true sources.
        obedience: settings of the dial; 0 ignores the steering, 1 is as trained.

    Raises:
        ValueError: shapes do not fit, a subspace does not exist, or a question has no true source.
    """
    given = np.ones(len(question), dtype=np.bool_)
    check_questions(index, question, steering, given)
    check_subspaces(index, subspace, len(question))
    found = [
        search(predict(question, steering, given, obedience=setting).vectors, index, relevant) for setting in obedience
    ]
    return ObedienceCurve(
        obedience=np.array(obedience, dtype=np.float64),
        share=np.stack([each.share_from(subspace, index) for each in found]),
        reciprocal_rank=np.stack([each.reciprocal_rank for each in found]),
    )
