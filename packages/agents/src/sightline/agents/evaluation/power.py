"""What a paired comparison of success rates can see, worked out before it is run.

The power is that of McNemar's exact test. Discordance is the share of goals on which the two agents end differently;
for agents with several training seeds it is the mean squared difference of their success rates on a goal, which is the
same number for one episode and gives the same variance for several. The module knows nothing of agents or episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sightline.agents.tables import Table

ASSUMED_DISCORDANCES = (0.05, 0.1, 0.2, 0.3)
"""What to reckon with before a pilot: agents alike on nearly every goal, up to agents with little in common."""

_NEGLIGIBLE = 1e-12


def mcnemar_power(goals: int, difference: float, discordance: float, *, alpha: float = 0.05) -> float:
    """Return the chance that McNemar's exact two-sided test at level `alpha` tells two agents apart.

    The number of discordant goals is random too: Binomial(goals, discordance), of which the candidate wins each with
    probability `(1 + difference / discordance) / 2`.

    Args:
        goals: paired goals, at least one.
        difference: true difference of the success rates, from -discordance to discordance.
        discordance: share of goals on which one succeeds and the other fails, in (0, 1].
        alpha: level of the test, in (0, 1).

    Raises:
        ValueError: the numbers are impossible.
    """
    _check(goals, discordance, alpha)
    if abs(difference) > discordance:
        raise ValueError(f"a difference of {difference!r} needs at least as much discordance, got {discordance!r}")
    share = (1 + difference / discordance) / 2
    power = 0.0
    for trials, chance in enumerate(_binomial(goals, discordance)):
        if chance < _NEGLIGIBLE:
            continue
        few = _rejecting_counts(trials, alpha)
        power += chance * float(_binomial(trials, share)[:few].sum() + _binomial(trials, 1 - share)[:few].sum())
    return min(power, 1.0)


def detectable_difference(
    goals: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8, tests: int = 1
) -> float | None:
    """Return the smallest true difference of success rates that is found with the wanted power.

    Args:
        goals: paired goals, at least one.
        discordance: share of goals on which one succeeds and the other fails, in (0, 1].
        alpha: level of the test, in (0, 1).
        power: wanted chance of finding the difference, in (0, 1).
        tests: number of tests that share the level, `Comparison.tests`; each is held to `alpha / tests`, the
            strictest step of Holm's.

    Returns:
        Between 0 and `discordance`, to a ten-thousandth, rounded up; None where even a candidate that wins on every
        discordant goal is missed too often.

    Raises:
        ValueError: the numbers are impossible.
    """
    _check(goals, discordance, alpha)
    if tests < 1 or not 0 < power < 1:
        raise ValueError(f"tests must be at least 1 and power within (0, 1), got {tests!r} and {power!r}")

    def found(step: int) -> bool:
        return mcnemar_power(goals, min(step / 10_000, discordance), discordance, alpha=alpha / tests) >= power

    low, high = 0, math.ceil(10_000 * discordance)
    if not found(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return min(high / 10_000, discordance)


def power_statement(goals: int, discordance: float, *, tests: int = 1) -> str:
    """Return what a run can see, in one sentence, with a power of 80 % at a level of 5 % shared by the tests."""
    seen = detectable_difference(goals, discordance, tests=tests)
    what = "no difference reliably" if seen is None else f"a difference of {100 * seen:.1f} points or more"
    shared = "" if tests == 1 else f", shared by {tests} tests"
    return (
        f"With {goals} paired goals, of which the two agents end {100 * discordance:.0f} % differently, you can see "
        f"{what} (power 80 %, McNemar's exact test at 5 %{shared})."
    )


def power_table(goals: int, *, tests: int = 1, discordances: Sequence[float] = ASSUMED_DISCORDANCES) -> Table:
    """Return the detectable difference for several discordances, alone and with the level shared, to show before a run.

    Args:
        goals: paired goals.
        tests: number of tests that share the level, two for every comparison of a report.
        discordances: shares of goals to reckon with; measured ones from a pilot, or assumed.
    """
    rows = []
    for discordance in discordances:
        alone, shared = (detectable_difference(goals, discordance, tests=count) for count in (1, tests))
        cells = ("none" if value is None else f"{100 * value:.1f}" for value in (alone, shared))
        rows.append((f"{100 * discordance:.0f}", *cells))
    return Table(
        columns=("goals that end differently, %", "one test: points", f"{tests} tests: points"),
        rows=tuple(rows),
        caption=f"Smallest difference of success rates found with a power of 80 % at a level of 5 %, on {goals} paired "
        "goals (McNemar's exact test).",
    )


@lru_cache(maxsize=1 << 14)
def _rejecting_counts(trials: int, alpha: float) -> int:
    """Return how many of the counts 0, 1, ... of wins, or of losses, are so few that the test rejects."""
    return int((np.cumsum(_binomial(trials, 0.5)) <= alpha / 2).sum())


def _binomial(trials: int, probability: float) -> np.ndarray:
    """Return the probabilities of 0 to `trials` successes, `[trials + 1]`."""
    if probability in (0.0, 1.0):
        return np.eye(trials + 1)[round(probability * trials)]
    counts = np.arange(trials + 1)
    factorials = _log_factorials(trials)
    ways = factorials[-1] - factorials - factorials[::-1]
    return np.exp(ways + counts * math.log(probability) + (trials - counts) * math.log1p(-probability))


@lru_cache(maxsize=1 << 12)
def _log_factorials(largest: int) -> np.ndarray:
    """Return the logarithms of 0! to `largest`!, `[largest + 1]`."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])


def _check(goals: int, discordance: float, alpha: float) -> None:
    if goals < 1 or not 0 < discordance <= 1 or not 0 < alpha < 1:
        raise ValueError(
            f"goals must be at least 1, discordance in (0, 1] and alpha in (0, 1), got {goals!r}, {discordance!r} and "
            f"{alpha!r}"
        )
