"""Ways to choose what to teach, as scores: what scores high is chosen first. No arm falls back on another.

An arm that lacks what it needs raises; two arms that choose nearly the same stop the experiment, since it would compare
a thing with itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.teachability.errors import ArmError
from sightline.teachability.records import LabelledSnapshot, TeacherHint

ArmFn = Callable[[Sequence[LabelledSnapshot]], "NDArray[np.float64]"]
"""Scores snapshots, [N]; a nan means that it cannot score that one."""

MOST_ALIKE = 0.9
"""Jaccard similarity from which two selections count as the same."""


def entropy_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return U."""
    return np.array([one.uncertainty.entropy_normalised if one.uncertainty else math.nan for one in labelled])


def oracle_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return the measured ELP."""
    return np.array([one.patches.elp.estimate if one.patches else math.nan for one in labelled])


def leverage_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return L_local: the oracle where teaching texts say nothing to the student."""
    return np.array([one.values.L_local.estimate if one.values else math.nan for one in labelled])


def first_order_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return pi(a*) A(a*), the gain of raising the logit of the teacher's action a little."""
    return np.array([one.first_order.logit if one.first_order else math.nan for one in labelled])


def first_error_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return how much the student's own action lost: -L_taken."""
    return np.array([-one.values.L_taken.estimate if one.values else math.nan for one in labelled])


def judge_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return how critical the teacher itself finds the step, by its confidence; most of these are ties."""
    levels = {"low": 0.0, "medium": 1.0, "high": 2.0}
    return np.array(
        [levels[one.hint.confidence] if isinstance(one.hint, TeacherHint) else math.nan for one in labelled]
    )


def random_scores(labelled: Sequence[LabelledSnapshot]) -> NDArray[np.float64]:
    """Return all the same: ties are drawn by chance."""
    return np.zeros(len(labelled))


def given_scores(scores: Mapping[str, float]) -> ArmFn:
    """Return an arm of scores by snapshot id, such as a predictor's out of fold."""
    return lambda labelled: np.array([scores.get(one.snapshot.id, math.nan) for one in labelled])


ARMS: dict[str, ArmFn] = {
    "random": random_scores,
    "entropy": entropy_scores,
    "oracle": oracle_scores,
    "leverage": leverage_scores,
    "s1": first_order_scores,
    "first_error": first_error_scores,
    "judge": judge_scores,
}
"""Arms that need nothing but labels."""


def select(
    name: str, labelled: Sequence[LabelledSnapshot], count: int, *, scores: ArmFn, seed: int
) -> list[LabelledSnapshot]:
    """Return the snapshots with the highest scores, ties drawn by chance.

    Args:
        name: name of the arm, for errors.
        labelled: candidates, the same for all arms.
        count: how many; all of them where there are fewer.
        scores: the arm.
        seed: seed of the order among ties.

    Raises:
        ArmError: the arm cannot score a candidate.
    """
    values = np.asarray(scores(labelled), dtype=np.float64)
    if values.shape != (len(labelled),) or np.isnan(values).any():
        missing = int(np.isnan(values).sum()) if values.shape == (len(labelled),) else len(labelled)
        raise ArmError(
            f"arm {name!r} cannot score {missing} of {len(labelled)} candidates; measure what it needs, or leave it out"
        )
    ties = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4,))).random(len(labelled))
    order = np.lexsort((ties, -values))[:count]
    return [labelled[i] for i in sorted(order.tolist())]


def check_arms(selections: Mapping[str, Sequence[str]], *, most_alike: float = MOST_ALIKE) -> dict[str, float]:
    """Return the Jaccard similarity of every pair of selections.

    Args:
        selections: ids that each arm chose.
        most_alike: similarity that is too much.

    Raises:
        ArmError: two arms chose nearly the same.
    """
    found = {}
    for (first, one), (second, other) in combinations(selections.items(), 2):
        union = set(one) | set(other)
        alike = len(set(one) & set(other)) / len(union) if union else 1.0
        found[f"{first} ~ {second}"] = alike
        if alike >= most_alike:
            raise ArmError(
                f"arms {first!r} and {second!r} chose nearly the same ({alike:.0%} in common): enlarge the candidate "
                "pool or lower the budget, or there is nothing to compare"
            )
    return found


def mean_score(values: ArrayLike) -> float | None:
    """Return a mean without nan, None where nothing is left."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else None
