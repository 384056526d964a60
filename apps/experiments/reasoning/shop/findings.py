"""What the shop's trials show: settings chosen on development goals, comparisons on test goals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.reasoning.settings import ShopSettings
from experiments.reasoning.shop.trials import Trial
from sightline.agents.evaluation import (
    Interval,
    bootstrap_interval,
    holm,
    mcnemar_test,
    paired_difference,
    rate_interval,
)

GREEDY = "the actor alone"


@dataclass(frozen=True)
class Choice:
    """What was chosen on development goals."""

    pessimism: float
    """Caution of the reward model."""
    margin: float
    """Amount by which a plan must seem better than the actor's own way."""
    simulations: int
    """Budget."""
    success: float
    """There."""
    greedy: float
    """Success of the actor alone there."""


@dataclass(frozen=True)
class Line:
    """One method at one budget on the test goals."""

    method: str
    """Its name."""
    simulations: int
    """Its budget."""
    success: Interval
    """Share of goals fully met."""
    reward: Interval
    """Mean reward."""
    difference: Interval | None
    """Difference of success to the actor alone, paired; None for that one itself."""
    p_value: float | None
    """P-value of that difference by McNemar's test, after Holm's correction over all lines."""
    steps: float
    """Mean steps taken in search."""
    judged: float
    """Mean pages that the policy was asked about."""
    seconds: float
    """Mean CPU seconds."""


def choose(settings: ShopSettings, trials: Sequence[Trial]) -> Choice:
    """Return the settings of most success on development goals; among equals more reward, then less search."""
    greedy = {trial.goal: trial.own_reward for trial in trials}
    choices = []
    for pessimism in settings.pessimism:
        for simulations in settings.simulations:
            mine = [t for t in trials if (t.pessimism, t.simulations) == (pessimism, simulations)]
            for margin in settings.margins:
                rewards = np.array([trial.reward_with(margin) for trial in mine])
                success = float((rewards == 1).mean())
                made = Choice(pessimism, margin, simulations, success, _success(greedy.values()))
                choices.append(((success, float(rewards.mean()), -simulations), made))
    return max(choices, key=lambda pair: pair[0])[1]


def mean_steps(trials: Sequence[Trial], pessimism: float) -> dict[int, int]:
    """Return the mean steps that the search took at each budget, rounded up."""
    budgets = sorted({trial.simulations for trial in trials})
    return {
        budget: int(np.ceil(np.mean([t.steps for t in trials if (t.simulations, t.pessimism) == (budget, pessimism)])))
        for budget in budgets
    }


def lines(trials: Sequence[Trial], choice: Choice, seed: int) -> list[Line]:
    """Return every method at every budget, compared with the actor alone on the same goals."""
    rng = np.random.default_rng(seed)
    goals = sorted({trial.goal for trial in trials})
    own = {trial.goal: trial.own_reward for trial in trials}
    greedy = np.array([own[goal] for goal in goals])
    found: list[Line] = [_line(GREEDY, 1, greedy, None, (0.0, 0.0, 0.0), rng)]
    for method, simulations in dict.fromkeys((trial.method, trial.simulations) for trial in trials):
        mine = {t.goal: t for t in trials if (t.method, t.simulations) == (method, simulations)}
        kept = [mine[goal] for goal in goals]
        margin = choice.margin if method in ("honest", "best of N", "beam") else 0.0
        rewards = np.array([trial.reward_with(margin) for trial in kept])
        costs = tuple(float(np.mean([getattr(t, name) for t in kept])) for name in ("steps", "judged", "seconds"))
        found.append(_line(method, simulations, rewards, greedy, (costs[0], costs[1], costs[2]), rng))
    return _with_adjusted_p_values(found)


def same_steps(trials: Sequence[Trial], choice: Choice, rival: str, seed: int) -> Interval:
    """Return the paired difference of success, honest search less a rival, at the chosen budget's steps."""
    kept = [trial for trial in trials if trial.simulations == choice.simulations]
    rewards = {
        method: {trial.goal: trial.reward_with(choice.margin) for trial in kept if trial.method == method}
        for method in ("honest", rival)
    }
    goals = sorted(rewards["honest"])
    ours, theirs = ([float(rewards[method][goal] == 1) for goal in goals] for method in ("honest", rival))
    return paired_difference(ours, theirs, np.random.default_rng(seed))


def _line(
    method: str,
    simulations: int,
    rewards: np.ndarray,
    greedy: np.ndarray | None,
    costs: tuple[float, float, float],
    rng: np.random.Generator,
) -> Line:
    won = (rewards == 1).astype(float)
    success = rate_interval(won, rng)
    assert success is not None, "there are at least two test goals"
    difference, p_value = None, None
    if greedy is not None:
        base = (greedy == 1).astype(float)
        difference = paired_difference(won, base, rng)
        p_value = mcnemar_test(int((won > base).sum()), int((won < base).sum()))
    return Line(method, simulations, success, bootstrap_interval(rewards, rng), difference, p_value, *costs)


def _with_adjusted_p_values(found: Sequence[Line]) -> list[Line]:
    tested = [line for line in found if line.p_value is not None]
    corrected = iter(holm([line.p_value for line in tested if line.p_value is not None]))
    return [line if line.p_value is None else replace(line, p_value=next(corrected)) for line in found]


def _success(rewards: Iterable[float]) -> float:
    return float((np.array(list(rewards)) == 1).mean())
