"""Purchases with their true rewards, gathered by searching for training goals, and reward models fitted to them.

A model's own search finds its mistakes: what it overrates, it buys. Rounds of search and refitting add these purchases.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.agents.grammar import Purchase
from sightline.agents.planning.environments.model import EnvironmentModel, Policy
from sightline.agents.planning.environments.planner import search_plan
from sightline.agents.planning.environments.reward_model import RewardModel, RewardModelConfig
from sightline.agents.planning.environments.rewards import OracleReward, Rewards
from sightline.agents.planning.environments.world import TextWorld, Transition

logger = logging.getLogger(__name__)

Open = Callable[[int], tuple[TextWorld, Any]]
"""Opens an episode of a training goal, with the true rewards: (world, first state)."""


@dataclass(slots=True)
class Experience:
    """Purchases of training goals."""

    purchases: list[Purchase] = field(default_factory=list)
    """Products bought, as their pages showed them."""
    rewards: list[float] = field(default_factory=list)
    """What they earned."""
    goals: list[int] = field(default_factory=list)
    """Which goal each was made for."""

    def __len__(self) -> int:
        return len(self.rewards)

    def add(self, other: Experience) -> None:
        """Take in more purchases, each once for a goal."""
        known = set(zip(self.goals, self.purchases, strict=True))
        for goal, purchase, reward in zip(other.goals, other.purchases, other.rewards, strict=True):
            if (goal, purchase) not in known:
                known.add((goal, purchase))
                self.purchases.append(purchase)
                self.rewards.append(reward)
                self.goals.append(goal)


class RecordingWorld:
    """A world that remembers what was bought in it.

    Args:
        world: the world, which pays true rewards.
    """

    def __init__(self, world: TextWorld) -> None:
        self._world = world
        self.bought: dict[Purchase, float] = {}

    @property
    def steps(self) -> int:
        """Steps taken in the world."""
        return self._world.steps

    def actions(self, state: Any) -> tuple[str, ...]:
        """See `TextWorld.actions`."""
        return self._world.actions(state)

    def step(self, state: Any, action: str) -> Transition:
        """See `TextWorld.step`; remembers a purchase."""
        transition = self._world.step(state, action)
        if transition.ended:
            purchase = self._world.purchase(state, action)
            if purchase is not None:
                self.bought[purchase] = transition.reward
        return transition

    def key(self, state: Any) -> Hashable:
        """See `TextWorld.key`."""
        return self._world.key(state)

    def purchase(self, state: Any, action: str) -> Purchase | None:
        """See `TextWorld.purchase`."""
        return self._world.purchase(state, action)


def gather(open_goal: Open, goals: Sequence[int], policy: Policy, rewards: Rewards, *, simulations: int) -> Experience:
    """Search for every goal and keep all purchases that were looked at.

    Args:
        open_goal: opens an episode of a goal.
        goals: training goals.
        policy: policy of the search.
        rewards: rewards of the search: the oracle's, or those of a model that is to see its own mistakes.
        simulations: number of simulations of each search.
    """
    found = Experience()
    for goal in goals:
        world, root = open_goal(goal)
        recording = RecordingWorld(world)
        search_plan(EnvironmentModel(recording, policy, rewards), root, simulations=simulations)
        found.add(Experience(list(recording.bought), list(recording.bought.values()), [goal] * len(recording.bought)))
    return found


def learn_rewards(
    open_goal: Open,
    goals: Sequence[int],
    policy: Policy,
    *,
    simulations: int = 24,
    rounds: int = 2,
    config: RewardModelConfig | None = None,
    seed: int = 0,
) -> tuple[RewardModel, Experience]:
    """Fit a reward model to purchases of training goals, then as often as asked to its own mistakes as well.

    Args:
        open_goal: opens an episode of a goal.
        goals: training goals.
        policy: policy of the searches.
        simulations: number of simulations of each search.
        rounds: number of rounds of searching by the model and fitting it anew.
        config: configuration of the model.
        seed: seed of the fits.
    """
    # No bound, so that a search does not end with the first perfect purchase.
    experience = gather(open_goal, goals, policy, OracleReward(bounds=None), simulations=simulations)
    for round_ in range(rounds + 1):
        model = RewardModel.fit(
            experience.purchases, experience.rewards, experience.goals, config=config, seed=seed + round_
        )
        logger.info("round %d: %d purchases of %d goals", round_, len(experience), len(goals))
        if round_ == rounds:
            break
        # Without pessimism, for it is the overrated purchases that are wanted.
        experience.add(gather(open_goal, goals, policy, model.with_pessimism(0.0), simulations=simulations))
    return model, experience


def within_goal_correlation(model: RewardModel, experience: Experience) -> float:
    """Return the mean correlation of estimates and rewards among the purchases of a goal.

    Goals whose purchases all earn the same, or are all rated the same, are left out; NaN where none is left.
    """
    estimates, _ = model.estimate(experience.purchases)
    rewards, goals = np.array(experience.rewards), np.array(experience.goals)
    found = []
    for goal in np.unique(goals):
        mine = goals == goal
        if rewards[mine].std() > 0 and estimates[mine].std() > 0:
            found.append(np.corrcoef(rewards[mine], estimates[mine])[0, 1])
    return float(np.mean(found)) if found else float("nan")
