"""From evidence to a decision: trust the first result, check the list, ask for the area, or abstain.

Probabilities are learned on validation questions, and so is the threshold of trust, which says what it promises. This
module knows nothing of models or embeddings; it sees the features and outcomes of `sightline.jepa.explaining.evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from scipy.special import betaincinv

from sightline.jepa.explaining.calibration import Calibrator, cross_fitted, fit_calibrator
from sightline.jepa.explaining.evidence import FEATURES, Outcomes
from sightline.jepa.files import atomic_file

_Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
_FIRST_SET: Final = 60
"""Groups in the smallest set whose precision is tested; if all of it is right, that promises 0.9."""
_GROWTH: Final = 1.5
"""Factor from one tested set to the next: few tests, as each makes all of them stricter."""
_REFERENCE_QUANTILES: Final = 101
_PENALTY: Final = 30.0
"""L2 weight of the calibrators: rows of one group are no independent examples, so the features earn less trust."""


class ActionableSignal(StrEnum):
    """What to do with a prediction."""

    TRUST = "trust"
    """Use the first result."""
    CHECK = "check"
    """Look through the results; the right one is probably among them."""
    ASK = "ask"
    """Ask which area is meant: none was given, and the subspace is too uncertain."""
    ABSTAIN = "abstain"
    """Do not answer; the right source is probably not among the results."""


class Reason(StrEnum):
    """Why; several can hold at once, and they stand in this order."""

    FIRST_RESULT_LIKELY = "first_result_likely"
    """The first result is right with at least the probability that TRUST asks for."""
    FIRST_RESULT_UNLIKELY = "first_result_unlikely"
    """It is not."""
    RESULTS_LIKELY = "results_likely"
    """A right source is among the results with at least the probability that CHECK asks for, but not surely first."""
    RESULTS_UNLIKELY = "results_unlikely"
    """It is not."""
    SUBSPACE_UNCERTAIN = "subspace_uncertain"
    """The primary subspace is the right one with less than the probability below which ASK is given."""
    STEERING_MISSING = "steering_missing"
    """No steering was given."""
    STEERING_DISPUTED = "steering_disputed"
    """Steering points to one subspace, the question alone to another."""
    NARROW_MARGIN = "narrow_margin"
    """The second result is as close to the first as in the closest quarter of validation questions."""
    ATYPICAL = "atypical"
    """The prediction leans on its subspace less than 95 % of validation predictions do."""
    UNFAMILIAR = "unfamiliar"
    """The nearest known question is farther than for 95 % of validation questions."""


class Threshold(BaseModel):
    """The least probability that keeps a promise about precision."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    value: _Share | None
    """Least probability; None where no set of validation questions kept the promise."""
    target: _Share
    """Promised share of questions at or above it for which the event holds."""
    confidence: _Share
    """Confidence that the promise holds for questions drawn like the validation ones."""
    bound: _Share | None
    """Lower confidence bound of that share on validation; None as for value."""
    coverage: _Share
    """Share of the validation questions at or above the value."""
    groups: Annotated[int, Field(ge=0)]
    """Independent groups of validation questions there."""

    def reached(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of `[B]` probabilities are high enough; `[B]` bool."""
        return probabilities >= (np.inf if self.value is None else self.value)


def precision_bound(successes: float, trials: float, *, confidence: float = 0.95) -> float:
    """Return the one-sided lower confidence bound of a success rate (Clopper and Pearson 1934), in [0, 1].

    Args:
        successes: number of successes; need not be whole, where trials are an effective number.
        trials: number of trials, at least successes.
        confidence: probability that the true rate is not below the bound.
    """
    return 0.0 if successes <= 0 else float(betaincinv(successes, trials - successes + 1, 1 - confidence))


def precision_threshold(
    probabilities: ArrayLike, event: ArrayLike, groups: ArrayLike, *, target: float, confidence: float = 0.95
) -> Threshold:
    """Find the threshold with the largest coverage whose precision is at least `target`, with this confidence.

    Sets of the most probable questions, whose sizes depend on the number of groups alone, are each tested by the lower
    bound of their precision. That the largest of those that pass is taken is paid for by Bonferroni's correction
    (Angelopoulos et al. 2021, Learn then Test, section 2.3). Rows of one group count as one trial.

    Args:
        probabilities: `[B]` from a calibrator that did not see these rows.
        event: `[B]` bool.
        groups: `[B]` int, rows that belong together.
        target: promised precision, in (0, 1).
        confidence: confidence of the promise, in (0, 1).

    Raises:
        ValueError: shapes differ, there is no row, or target or confidence is not in (0, 1).
    """
    stated, held, groups = np.asarray(probabilities), np.asarray(event), np.asarray(groups)
    if stated.ndim != 1 or held.shape != stated.shape or groups.shape != stated.shape or not stated.size:
        raise ValueError(
            "probabilities, event and groups must be [B] with at least one row, "
            f"not {list(stated.shape)}, {list(held.shape)} and {list(groups.shape)}"
        )
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(f"target and confidence must be in (0, 1), not {target!r} and {confidence!r}")
    order = np.argsort(-stated, kind="stable")
    first_seen = np.zeros(len(stated), dtype=np.int64)
    first_seen[np.unique(groups[order], return_index=True)[1]] = 1
    groups_so_far = np.cumsum(first_seen)
    sizes = _tested_sizes(int(groups_so_far[-1]))
    chosen = Threshold(value=None, target=target, confidence=confidence, bound=None, coverage=0.0, groups=0)
    for size in sizes:
        value = stated[order[int(np.searchsorted(groups_so_far, size))]]
        accepted = stated >= value
        trials = len(np.unique(groups[accepted]))
        corrected = 1 - (1 - confidence) / len(sizes)
        bound = precision_bound(float(held[accepted].mean()) * trials, trials, confidence=corrected)
        if bound < target:
            continue
        chosen = Threshold(
            value=float(value),
            target=target,
            confidence=confidence,
            bound=bound,
            coverage=float(accepted.mean()),
            groups=trials,
        )
    return chosen


def _tested_sizes(groups: int) -> list[int]:
    """Return sizes of the sets whose precision is tested, in groups, ascending; the last is all of them."""
    sizes = []
    size = float(_FIRST_SET)
    while size < groups:
        sizes.append(round(size))
        size *= _GROWTH
    return [*sizes, groups]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What `AnswerPolicy.decide` made of B rows of features."""

    confidence: NDArray[np.float64]
    """`[B]` float64 probability that the first result is right."""
    among_results: NDArray[np.float64]
    """`[B]` float64 probability that one of the results is."""
    subspace_confidence: NDArray[np.float64]
    """`[B]` float64 probability that the primary subspace holds a right source."""
    atypicality: NDArray[np.float64]
    """`[B]` float64 share of validation predictions that lean on their subspace more, in [0, 1]."""
    signals: tuple[ActionableSignal, ...]
    """B of them."""
    reasons: tuple[tuple[Reason, ...], ...]
    """B tuples, none empty."""


class AnswerPolicy(BaseModel):
    """Calibrators, thresholds and limits learned by `fit_policy`: all that turns features into signals, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of the file."""
    first_right: Calibrator
    """Calibrator of "the first result is right"."""
    among_results: Calibrator
    """Calibrator of "one of the results is right"."""
    subspace_right: Calibrator
    """Calibrator of "the primary subspace holds a right source"."""
    trust: Threshold
    """Threshold of the probability of `first_right`."""
    check_from: _Share
    """Least probability of `among_results` at which looking through the results is worth it."""
    ask_below: _Share
    """Probability of `subspace_right` below which asking for the area is worth it."""
    narrow_margin: FiniteFloat
    """Margin feature at the lower quartile of validation."""
    unfamiliar: FiniteFloat
    """Known-similarity feature at the 5 % quantile of validation."""
    fine_norm_quantiles: Annotated[
        tuple[FiniteFloat, ...], Field(min_length=_REFERENCE_QUANTILES, max_length=_REFERENCE_QUANTILES)
    ]
    """Fine-norm feature of validation at 0 %, 1 %, ..., 100 %."""

    def decide(self, features: ArrayLike) -> Decisions:
        """Decide what to do with predictions whose features are rows of `[B, F]`.

        TRUST where the first result reaches its threshold; else ASK where no steering was given and the subspace is
        less probable than `ask_below` (who has given an area would be asked for what was said); else CHECK where the
        results are as probable as `check_from`; else ABSTAIN.

        Raises:
            ValueError: the features have another shape, or one is not finite.
        """
        rows = np.asarray(features, dtype=np.float64)
        confidence = self.first_right.probability(rows)
        among_results = self.among_results.probability(rows)
        subspace = self.subspace_right.probability(rows)
        column = {name: rows[:, place] for place, name in enumerate(FEATURES)}
        atypicality = np.interp(column["fine_norm"], self.fine_norm_quantiles, np.linspace(0, 1, _REFERENCE_QUANTILES))
        trusted, listed = self.trust.reached(confidence), among_results >= self.check_from
        known = subspace >= self.ask_below
        missing = column["has_steering"] == 0
        holds = {
            Reason.FIRST_RESULT_LIKELY: trusted,
            Reason.FIRST_RESULT_UNLIKELY: ~trusted,
            Reason.RESULTS_LIKELY: listed & ~trusted,
            Reason.RESULTS_UNLIKELY: ~listed & ~trusted,
            Reason.SUBSPACE_UNCERTAIN: ~known,
            Reason.STEERING_MISSING: missing,
            Reason.STEERING_DISPUTED: ~missing & (column["dispute"] > 0),
            Reason.NARROW_MARGIN: column["margin"] <= self.narrow_margin,
            Reason.ATYPICAL: atypicality > 0.95,
            Reason.UNFAMILIAR: column["known_similarity"] < self.unfamiliar,
        }
        return Decisions(
            confidence=confidence,
            among_results=among_results,
            subspace_confidence=subspace,
            atypicality=atypicality,
            signals=tuple(map(_signal, trusted, known | ~missing, listed)),
            reasons=tuple(tuple(reason for reason in Reason if holds[reason][row]) for row in range(len(rows))),
        )


def write_policy(path: Path, policy: AnswerPolicy) -> None:
    """Write a policy as JSON; whoever reads `path` finds the old content or the new one.

    Args:
        path: file to write.
        policy: policy to keep.
    """
    with atomic_file(path) as file:
        file.write(policy.model_dump_json(indent=2).encode() + b"\n")


def read_policy(path: Path) -> AnswerPolicy:
    """Read a policy that `write_policy` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else; the message names file and field.
    """
    try:
        policy = AnswerPolicy.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise ValueError(f"{path}, field {place!r}: {first['msg']}; fit the policy again") from error
    for name in ("first_right", "among_results", "subspace_right"):
        if getattr(policy, name).features != FEATURES:
            raise ValueError(
                f"{path}, field {name!r}: fitted to features {', '.join(getattr(policy, name).features)[:200]}, "
                f"but they are {', '.join(FEATURES)}; fit the policy again"
            )
    return policy


def _signal(trusted: np.bool_, settled: np.bool_, listed: np.bool_) -> ActionableSignal:
    if trusted:
        return ActionableSignal.TRUST
    if not settled:
        return ActionableSignal.ASK
    return ActionableSignal.CHECK if listed else ActionableSignal.ABSTAIN


def fit_policy(
    features: ArrayLike,
    outcomes: Outcomes,
    groups: ArrayLike,
    *,
    trust_target: float = 0.9,
    check_from: float = 0.5,
    ask_below: float = 0.5,
) -> AnswerPolicy:
    """Learn calibrators, the threshold of trust and limits from validation questions.

    What it promises holds for questions and steering mixed as they are here: include questions without
    steering, and with wrong steering, in the shares in which they will come. The threshold is chosen on probabilities
    of calibrators that did not see the row's group. Where an outcome always (or never) held, its probability is the
    same for every question, so that all of them are trusted, or none is.

    Args:
        features: `[B, F]`, as in `Evidence.features`.
        outcomes: outcomes of the same rows.
        groups: `[B]` int: rows that belong together, such as one question under several steerings.
        trust_target: promised share of TRUST questions whose first result is right.
        check_from: least probability of a right source among the results at which looking through them is worth it.
        ask_below: probability that the primary subspace is right, below which asking for the area is worth it.

    Raises:
        ValueError: shapes differ, a value is not finite, or there are fewer than five groups.
    """
    rows = np.asarray(features, dtype=np.float64)
    events = (outcomes.first_right, outcomes.among_results, outcomes.subspace_right)
    calibrators = [fit_calibrator(rows, FEATURES, event, penalty=_PENALTY) for event in events]
    unseen = cross_fitted(rows, FEATURES, outcomes.first_right, groups, penalty=_PENALTY)
    column = {name: rows[:, place] for place, name in enumerate(FEATURES)}
    return AnswerPolicy(
        first_right=calibrators[0],
        among_results=calibrators[1],
        subspace_right=calibrators[2],
        trust=precision_threshold(unseen, outcomes.first_right, groups, target=trust_target),
        check_from=check_from,
        ask_below=ask_below,
        narrow_margin=float(np.quantile(column["margin"], 0.25)),
        unfamiliar=float(np.quantile(column["known_similarity"], 0.05)),
        fine_norm_quantiles=tuple(np.quantile(column["fine_norm"], np.linspace(0, 1, _REFERENCE_QUANTILES)).tolist()),
    )


@dataclass(frozen=True, slots=True)
class SignalRow:
    """What came true under one signal."""

    signal: ActionableSignal
    """The signal."""
    count: int
    """Questions that got it."""
    share: float
    """Share of all questions."""
    first_right: float
    """Share of them whose first result is right; NaN where count is 0."""
    bounds: tuple[float, float]
    """95 % interval of that share (Clopper and Pearson 1934), each question as one trial."""
    among_results: float
    """Share of them with a right source among the results; NaN where count is 0."""
    subspace_right: float
    """Share of them whose primary subspace is right; NaN where count is 0."""


def report_signals(signals: Sequence[ActionableSignal], outcomes: Outcomes) -> list[SignalRow]:
    """Return one row for each signal, in the order of the enumeration.

    Raises:
        ValueError: another number of signals than of outcomes.
    """
    if len(signals) != len(outcomes.first_right):
        raise ValueError(f"{len(signals)} signals do not fit {len(outcomes.first_right)} outcomes")
    rows = []
    for signal in ActionableSignal:
        has_signal = np.array([each is signal for each in signals], dtype=bool)
        count = int(has_signal.sum())
        right = int(outcomes.first_right[has_signal].sum())
        means = [
            float(event[has_signal].mean()) if count else float("nan")
            for event in (outcomes.first_right, outcomes.among_results, outcomes.subspace_right)
        ]
        bounds = (
            precision_bound(right, count, confidence=0.975),
            1.0 - precision_bound(count - right, count, confidence=0.975),
        )
        rows.append(SignalRow(signal, count, count / max(len(signals), 1), means[0], bounds, means[1], means[2]))
    return rows
