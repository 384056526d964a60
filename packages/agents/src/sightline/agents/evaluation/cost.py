"""What success costs: tokens, dollars, and which agents nobody beats on both. Pure functions over episodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sightline.agents.chat.prices import TokenPrices
from sightline.agents.evaluation.episodes import MEASURES, EpisodesBySeed, by_goal, measured
from sightline.agents.evaluation.intervals import Interval, ratio_interval, resampled_by, show_interval
from sightline.agents.tables import Table


def tokens_per_success(episodes: EpisodesBySeed, *, seed: int) -> Interval | None:
    """Return prompt and completion tokens of all episodes, per episode that succeeded; None where none did.

    Args:
        episodes: episodes of one agent by training seed; those of one goal are averaged, those with an error left out.
        seed: seed of the bootstrap over goals, and training seeds where there are several.
    """
    return _per_success(episodes, prompt=1.0, completion=1.0, seed=seed)


def dollars_per_100_successes(episodes: EpisodesBySeed, prices: TokenPrices, *, seed: int) -> Interval | None:
    """Return what the tokens of all episodes cost, failed ones too, per 100 that succeeded; None where none did.

    Args:
        episodes: episodes of one agent, as in `tokens_per_success`.
        prices: prices of the model's tokens.
        seed: seed of the bootstrap.
    """
    scale = 100 / 1_000_000
    return _per_success(episodes, prompt=scale * prices.prompt, completion=scale * prices.completion, seed=seed)


def cost_table(agents: Mapping[str, EpisodesBySeed], *, seed: int, prices: TokenPrices | None = None) -> Table:
    """Return the tokens, and with prices the dollars, that each agent spends on a success.

    Args:
        agents: agent -> its episodes by training seed.
        seed: seed of the bootstrap.
        prices: prices of the model's tokens; leave out for tokens alone.
    """
    rows = []
    for agent, episodes in agents.items():
        costs = [tokens_per_success(episodes, seed=seed)]
        if prices is not None:
            costs.append(dollars_per_100_successes(episodes, prices, seed=seed))
        rows.append((agent, *map(_shown, costs), resampled_by(costs)))
    asked = "" if prices is None else f" Prices: {prices.prompt:g} and {prices.completion:g} dollars per million tokens"
    dollars = () if prices is None else ("dollars per 100 successes",)
    return Table(
        columns=("agent", "tokens per success", *dollars, "resampled"),
        rows=tuple(rows),
        caption="Tokens of all episodes, failed ones too, per success, as the acting model counts them, with 95 % "
        f"bootstrap intervals.{asked}{' read and written.' if asked else ''}",
    )


def pareto_frontier(agents: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the agents that no other one matches or beats on both counts while beating it on one.

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


def _per_success(episodes: EpisodesBySeed, *, prompt: float, completion: float, seed: int) -> Interval | None:
    goals = list(by_goal(episodes).values())
    if not goals:
        return None
    costs = measured(
        goals,
        lambda trajectory: sum(
            prompt * step.prompt_tokens + completion * step.completion_tokens for step in trajectory.steps
        ),
    )
    successes = measured(goals, MEASURES["success_rate"])
    return ratio_interval(costs.values, successes.values, np.random.default_rng(seed), weights=costs.weights)


def _shown(value: Interval | None) -> str:
    """Return a cost with enough digits for tokens by the thousand as for fractions of a cent."""
    least = 0.0 if value is None else value.value
    return show_interval(value, ",.0f" if least >= 100 else ",.2f" if least >= 1 else ".2g")
