"""What success costs: tokens, dollars, and which agents nobody beats on both. Pure functions over episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from sightline.agents.chat.prices import TokenPrices
from sightline.agents.evaluation.intervals import Interval, ratio_interval
from sightline.agents.tables import Table
from sightline.agents.trajectory import Trajectory


def tokens_per_success(trajectories: Sequence[Trajectory], *, seed: int) -> Interval | None:
    """Prompt and completion tokens of all episodes, per episode that succeeded; None where none did.

    Args:
        trajectories: of one agent; runs of one goal are averaged, episodes with an error are left out.
        seed: of the bootstrap over goals.
    """
    return _per_success(trajectories, prompt=1.0, completion=1.0, seed=seed)


def dollars_per_100_successes(trajectories: Sequence[Trajectory], prices: TokenPrices, *, seed: int) -> Interval | None:
    """What the tokens of all episodes cost, failed ones too, per 100 that succeeded; None where none did.

    Args:
        trajectories: of one agent; runs of one goal are averaged, episodes with an error are left out.
        prices: of the model's tokens.
        seed: of the bootstrap over goals.
    """
    scale = 100 / 1_000_000
    return _per_success(trajectories, prompt=scale * prices.prompt, completion=scale * prices.completion, seed=seed)


def cost_table(
    trajectories: Mapping[str, Sequence[Trajectory]], *, seed: int, prices: TokenPrices | None = None
) -> Table:
    """Tokens, and with prices dollars, that each agent spends on a success.

    Args:
        trajectories: agent -> its episodes.
        seed: of the bootstrap over goals.
        prices: leave out for tokens alone.
    """
    rows = []
    for agent, episodes in trajectories.items():
        row = [agent, _shown(tokens_per_success(episodes, seed=seed))]
        if prices is not None:
            row.append(_shown(dollars_per_100_successes(episodes, prices, seed=seed)))
        rows.append(tuple(row))
    asked = "" if prices is None else f" Prices: {prices.prompt:g} and {prices.completion:g} dollars per million tokens"
    return Table(
        columns=("agent", "tokens per success") + (("dollars per 100 successes",) if prices is not None else ()),
        rows=tuple(rows),
        caption="Tokens of all episodes, failed ones too, per success, as the acting model counts them, with 95 % "
        f"bootstrap intervals over goals.{asked}{' read and written.' if asked else ''}",
    )


def pareto_frontier(agents: Mapping[str, tuple[float, float]]) -> list[str]:
    """The agents that no other one matches or beats on both counts while beating it on one.

    Args:
        agents: name -> (tokens, lower is better; success rate, higher is better).

    Returns:
        Names by ascending tokens, those that tie on both counts in the given order.
    """

    def dominated(name: str) -> bool:
        tokens, success = agents[name]
        return any(
            other != (tokens, success) and other[0] <= tokens and other[1] >= success for other in agents.values()
        )

    return sorted((name for name in agents if not dominated(name)), key=lambda name: agents[name][0])


def _per_success(trajectories: Sequence[Trajectory], *, prompt: float, completion: float, seed: int) -> Interval | None:
    costs, successes = defaultdict(list), defaultdict(list)
    for trajectory in trajectories:
        if trajectory.error is None:
            costs[trajectory.goal].append(
                sum(prompt * step.prompt_tokens + completion * step.completion_tokens for step in trajectory.steps)
            )
            successes[trajectory.goal].append(trajectory.success)
    above, below = ([float(np.mean(runs)) for runs in goals.values()] for goals in (costs, successes))
    return ratio_interval(above, below, np.random.default_rng(seed)) if above else None


def _shown(value: Interval | None) -> str:
    """With enough digits for tokens by the thousand as for fractions of a cent."""
    if value is None:
        return "n/a"
    style = ",.0f" if value.mean >= 100 else ",.2f" if value.mean >= 1 else ".2g"
    return f"{value.mean:{style}} [{value.low:{style}}, {value.high:{style}}]"
