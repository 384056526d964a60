"""Play a policy through goals and say how well it did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any, NamedTuple, Protocol

from sightline.webshop_env.gym.env import WebShopEnv


class Policy(Protocol):
    """What chooses actions: any function of the observation and the info beside it."""

    def __call__(self, observation: str, info: Mapping[str, Any], /) -> str:
        """Return the next action."""
        ...


class Rate(NamedTuple):
    """A share with its 95 % interval (Wilson, 1927), for goals that are drawn anew."""

    value: float
    """Share, from 0 to 1."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How one episode went."""

    goal: int
    """Index of the goal."""
    reward: float
    """Reward of the purchase, from 0 to 1; 0 without one."""
    purchased: bool
    """Whether something was bought."""
    steps: int
    """Actions taken."""
    invalid_actions: int
    """Those of them that the page did not take."""
    parts: Mapping[str, float | bool] | None
    """Parts of the reward, as `info["reward_info"]` has them; None without a purchase."""

    @property
    def success(self) -> bool:
        """Whether the reward is 1: the right product, options and price."""
        return self.reward == 1.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a policy did."""

    episodes: tuple[EpisodeResult, ...]
    """One for each goal, in the order in which they were asked for."""

    @property
    def success(self) -> Rate:
        """Share of episodes with reward 1."""
        return wilson_interval(sum(episode.success for episode in self.episodes), len(self.episodes))

    @property
    def score(self) -> float:
        """Mean reward, from 0 to 1."""
        return fmean(episode.reward for episode in self.episodes)

    @property
    def score_error(self) -> float:
        """Standard error of the mean reward over goals; NaN for a single episode."""
        rewards = [episode.reward for episode in self.episodes]
        return stdev(rewards) / math.sqrt(len(rewards)) if len(rewards) > 1 else math.nan

    @property
    def invalid_share(self) -> float:
        """Share of all actions that the page did not take."""
        return sum(episode.invalid_actions for episode in self.episodes) / sum(
            episode.steps for episode in self.episodes
        )

    @property
    def parts(self) -> dict[str, float]:
        """Mean of each part of the reward, by its name in `reward_info`, over the episodes whose purchase has it."""
        found: dict[str, list[float]] = {}
        for episode in self.episodes:
            for name, value in (episode.parts or {}).items():
                found.setdefault(name, []).append(float(value))
        return {name: fmean(values) for name, values in found.items()}

    def __str__(self) -> str:
        value, low, high = self.success
        steps = fmean(episode.steps for episode in self.episodes)
        parts = ", ".join(f"{name} {mean:.2f}" for name, mean in self.parts.items() if name.startswith("r_"))
        return (
            f"{len(self.episodes)} episodes: success {value:.1%} [{low:.1%}, {high:.1%}], score {self.score:.3f} "
            f"+- {self.score_error:.3f} (standard error), {steps:.1f} steps, {self.invalid_share:.1%} invalid actions"
            f"{f'; of purchases: {parts}' if parts else ''}"
        )


def evaluate(
    env: WebShopEnv, policy: Policy, goals: Iterable[int], *, seed: int = 0, max_steps: int = 100
) -> Evaluation:
    """Play one episode for each goal.

    Args:
        env: environment to play in; it is left after the last episode.
        policy: function of observation and info that returns an action.
        goals: indices of goals, for example `split_indices("test", len(env.goals))`.
        seed: seed of every episode's random results.
        max_steps: actions after which an episode ends without a purchase, where the environment has no lower limit.

    Returns:
        The results, in the order of the goals.

    Raises:
        GoalError: there is no such goal.
        ValueError: there are no goals, or `max_steps` is less than 1.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, not {max_steps!r}")
    episodes = tuple(_play(env, policy, goal, seed, max_steps) for goal in goals)
    if not episodes:
        raise ValueError("there are no goals to evaluate on")
    return Evaluation(episodes)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Rate:
    """Return a share with the score interval of E. B. Wilson (1927), which holds for few trials and shares near 0 or 1.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"expected 0 to {trials} successes in at least 1 trial, not {successes}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Rate(share, low, high)


def _play(env: WebShopEnv, policy: Policy, goal: int, seed: int, max_steps: int) -> EpisodeResult:
    observation, info = env.reset(seed=seed, options={"goal": goal})
    steps, invalid, reward = 0, 0, 0.0
    terminated = truncated = False
    while steps < max_steps and not (terminated or truncated):
        observation, reward, terminated, truncated, info = env.step(policy(observation, info))
        steps += 1
        invalid += not info["action_is_valid"]
    return EpisodeResult(goal, reward, terminated, steps, invalid, info.get("reward_info"))
