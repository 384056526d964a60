"""Turn what is seen of a prediction into the probability that an event holds, and measure how honest it is.

The event is the caller's, for example "the first result is right". This module knows nothing of models, embeddings or
what the features mean; it sees features `[B, F]` float64 and events `[B]` bool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

_Positive = Annotated[FiniteFloat, Field(gt=0)]


class Calibrator(BaseModel):
    """A logistic regression on standardised features: `1 / (1 + exp(-(intercept + coefficients . z)))`.

    One equation with one weight per named feature, so that it can be read, and written as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    features: tuple[str, ...]
    """Names of the F features, in the order of the columns."""
    means: tuple[FiniteFloat, ...]
    """Mean of each feature on the examples it was fitted to."""
    scales: tuple[_Positive, ...]
    """Standard deviation of each feature there; 1 where a feature did not vary."""
    coefficients: tuple[FiniteFloat, ...]
    """Change of the log odds for one standard deviation of the feature."""
    intercept: FiniteFloat
    """Log odds at the mean of every feature."""

    @model_validator(mode="after")
    def _one_weight_per_feature(self) -> Self:
        lengths = {len(self.features), len(self.means), len(self.scales), len(self.coefficients)}
        if len(lengths) != 1:
            raise ValueError(f"features, means, scales and coefficients must be equally many, not {sorted(lengths)}")
        return self

    def probability(self, features: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of the event for every row of `features [B, F]`; `[B]` in (0, 1).

        Raises:
            ValueError: another number of columns than the calibrator was fitted to, or a value that is not finite.
        """
        rows = _finite_rows(features, self.features)
        log_odds = (rows - np.array(self.means)) / np.array(self.scales) @ np.array(self.coefficients) + self.intercept
        return 0.5 * (1.0 + np.tanh(0.5 * log_odds))  # the logistic function, which cannot overflow in this form


def fit_calibrator(features: ArrayLike, names: Sequence[str], event: ArrayLike, *, penalty: float = 1.0) -> Calibrator:
    """Fit a calibrator by penalised maximum likelihood (L2 on the weights of standardised features).

    An event that held always, or never, tells nothing of the features: its probability is then the same for every row,
    `(held + 1) / (B + 2)` (Laplace's rule of succession).

    Args:
        features: `[B, F]`.
        names: names of the F features.
        event: `[B]` bool, whether the event held.
        penalty: weight of the L2 term beside the sum of the examples' losses; above 0.

    Raises:
        ValueError: shapes differ, a value is not finite, or there is no example.
    """
    rows = _finite_rows(features, names)
    held = _events(event, len(rows))
    if not held.size:
        raise ValueError("a calibrator needs at least one example")
    means, scales = rows.mean(axis=0), rows.std(axis=0)
    scales = np.where(scales > 1e-12, scales, 1.0)
    if held.all() or not held.any():
        right, wrong = int(held.sum()), int((~held).sum())
        coefficients, intercept = np.zeros(len(names)), float(np.log((right + 1) / (wrong + 1)))
    else:
        model = LogisticRegression(C=1 / penalty, max_iter=1000).fit((rows - means) / scales, held)
        coefficients, intercept = model.coef_[0], float(model.intercept_[0])
    return Calibrator(
        features=tuple(names),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        coefficients=tuple(coefficients.tolist()),
        intercept=intercept,
    )


def cross_fitted(
    features: ArrayLike,
    names: Sequence[str],
    event: ArrayLike,
    groups: ArrayLike,
    *,
    folds: int = 5,
    penalty: float = 1.0,
) -> NDArray[np.float64]:
    """Return the probability of every row from a calibrator that saw neither it nor its group; `[B]`.

    Thresholds that are chosen on these are not flattered by the fit.

    Args:
        features: `[B, F]`.
        names: names of the F features.
        event: `[B]` bool.
        groups: `[B]` int, rows that belong together (one question asked in several ways, a connected component).
        folds: number of times that the calibrator is fitted.
        penalty: weight of the L2 term, as in `fit_calibrator`.

    Raises:
        ValueError: as `fit_calibrator` for any fold, or fewer groups than folds.
    """
    rows = _finite_rows(features, names)
    held = _events(event, len(rows))
    groups = np.asarray(groups)
    if groups.shape != held.shape:
        raise ValueError(f"groups must be [{len(held)}], one for each row, not {list(groups.shape)}")
    probabilities = np.empty(len(rows))
    for inside, outside in GroupKFold(folds).split(rows, held, groups):
        calibrator = fit_calibrator(rows[inside], names, held[inside], penalty=penalty)
        probabilities[outside] = calibrator.probability(rows[outside])
    return probabilities


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated against observed frequency in bins of (almost) equally many examples, from low to high probability."""

    stated: NDArray[np.float64]
    """`[bins]` mean probability of the bin's examples."""
    observed: NDArray[np.float64]
    """`[bins]` share of them for which the event held."""
    count: NDArray[np.int64]
    """`[bins]` int64 examples."""

    @property
    def error(self) -> float:
        """Expected calibration error: `sum over bins of count / B * |observed - stated|`, in [0, 1]."""
        return float(np.average(np.abs(self.observed - self.stated), weights=self.count))


def reliability(probabilities: ArrayLike, event: ArrayLike, *, bins: int = 15) -> Reliability:
    """Sort by probability and cut into `bins` bins of equal mass (Nixon et al. 2019, adaptive calibration error).

    Raises:
        ValueError: a probability is outside [0, 1], shapes differ, or there are fewer examples than bins.
    """
    stated = _probabilities(probabilities)
    held = _events(event, len(stated))
    pieces = list(_equal_mass(stated, bins))
    return Reliability(
        stated=np.array([stated[piece].mean() for piece in pieces]),
        observed=np.array([held[piece].mean() for piece in pieces]),
        count=np.array([len(piece) for piece in pieces], dtype=np.int64),
    )


def calibration_error_by_chance(
    probabilities: ArrayLike, groups: ArrayLike | None = None, *, bins: int = 15, draws: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """Draw calibration errors that honest probabilities would show on a test of this size; `[draws]`, sorted.

    The binned error of a finite sample is never 0. Outcomes are drawn from the probabilities themselves, so a measured
    error inside this distribution is no evidence of miscalibration, and its mean is the least that can be asked for.

    Args:
        probabilities: `[B]`.
        groups: `[B]` int, rows whose luck is one, such as one question asked in several ways: in a draw an event
            that holds for one row holds for all of its group with a higher probability. That is the most that rows
            can depend on each other; without groups they are independent, the least.
        bins: number of bins, as in `reliability`.
        draws: simulated tests.
        seed: seed of the draws.

    Raises:
        ValueError: a probability is outside [0, 1], groups are not `[B]`, or there are fewer examples than bins.
    """
    stated = _probabilities(probabilities)
    luck_of = np.arange(len(stated)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if luck_of.shape != stated.shape:
        raise ValueError(f"groups must be [{len(stated)}], one for each row, not {list(luck_of.shape)}")
    generator = np.random.default_rng(seed)
    pieces = list(_equal_mass(stated, bins))
    outcomes = generator.random((draws, int(luck_of.max()) + 1))[:, luck_of] < stated
    gaps = [np.abs(outcomes[:, piece].mean(axis=1) - stated[piece].mean()) * len(piece) for piece in pieces]
    return np.sort(np.sum(gaps, axis=0) / len(stated))


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What is wrong among the most confident answers, for every number of answers given."""

    coverage: NDArray[np.float64]
    """`[B]` share of the examples that are answered: 1/B, 2/B, ..., 1."""
    risk: NDArray[np.float64]
    """`[B]` share of those answers that are wrong. Answers of equal probability are ordered by chance, so each stands
    for their mean.
    """

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC, Geifman and El-Yaniv 2017); less is better."""
        return float(self.risk.mean())

    def accuracy_at(self, coverage: float) -> float:
        """Return the share of right answers when the most confident `coverage` of the examples are answered.

        Raises:
            ValueError: coverage is not in (0, 1].
        """
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage must be in (0, 1], not {coverage!r}")
        return float(1.0 - self.risk[max(1, round(coverage * len(self.risk))) - 1])


def risk_coverage(probabilities: ArrayLike, event: ArrayLike) -> RiskCoverage:
    """Compute the risk of answering only the most confident examples, for every coverage.

    Raises:
        ValueError: a probability is outside [0, 1], shapes differ, or there is no example.
    """
    stated = _probabilities(probabilities)
    held = _events(event, len(stated))
    values, tie = np.unique(-stated, return_inverse=True)
    mean_of_tie = np.bincount(tie, weights=held) / np.bincount(tie, minlength=len(values))
    right = np.cumsum(mean_of_tie[np.sort(tie)])
    answered = np.arange(1, len(stated) + 1)
    return RiskCoverage(coverage=answered / len(stated), risk=1.0 - right / answered)


def _equal_mass(stated: NDArray[np.float64], bins: int) -> Iterator[NDArray[np.int64]]:
    if not 1 <= bins <= len(stated):
        raise ValueError(f"{len(stated)} examples cannot fill {bins!r} bins")
    yield from np.array_split(np.argsort(stated, kind="stable"), bins)


def _probabilities(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"probabilities must be [B] with at least one example, not {list(array.shape)}")
    inside = (array >= 0) & (array <= 1)
    if not inside.all():
        raise ValueError(
            f"probability {int((~inside).argmax())} is {float(array[~inside][0])!r}, which is outside [0, 1]"
        )
    return array


def _events(values: ArrayLike, expected: int) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.shape != (expected,) or array.dtype != np.bool_:
        raise ValueError(f"the event must be bool [{expected}], not {array.dtype} {list(array.shape)}")
    return array


def _finite_rows(features: ArrayLike, names: Sequence[str]) -> NDArray[np.float64]:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(f"features must be [B, {len(names)}] for {', '.join(names)}; they are {list(rows.shape)}")
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise ValueError(f"feature {names[column]!r} of row {row} is {float(rows[row, column])!r}, not a finite number")
    return rows
