"""Reward models of the shop, learnt from purchases of training goals; the naive one is a warning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.reasoning.settings import ShopSettings, Stage
from experiments.reasoning.shop.shop_model import RulePolicy, ShopWorld
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.planning import (
    Experience,
    OracleReward,
    RewardModel,
    RewardModelConfig,
    gather,
    learn_rewards,
    within_goal_correlation,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl
from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, split_indices

HONEST, NAIVE = "honest", "naive"
_NAIVE_SIMULATIONS = 400


@dataclass(frozen=True)
class Floor:
    """A shop, and which of its goals are for what."""

    shop: Shop
    """Its rules."""
    train: Sequence[int]
    """Goals that may be learnt from."""
    dev: Sequence[int]
    """Goals for choosing."""
    test: Sequence[int]
    """Goals of the final figures."""
    step_limit: int
    """Steps of an episode."""

    def open(self, goal: int, *, withhold: bool) -> tuple[ShopWorld, ShopState]:
        """Return the world of an episode and its first state."""
        world = ShopWorld(self.shop, withhold=withhold)
        return world, world.start(goal, step_limit=self.step_limit)

    def opener(self) -> Callable[[int], tuple[Any, Any]]:
        """Return what opens episodes of training goals, with true rewards."""
        return lambda goal: self.open(goal, withhold=False)


class LearntRewards(BaseModel):
    """How well a reward model rates purchases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    """Name of the model."""
    goals: int
    """Training goals."""
    purchases: int
    """That it was fitted to."""
    correlation: float
    """Mean correlation with the true reward among the purchases of a training goal."""
    fresh_correlation: float
    """The same for development goals."""


@lru_cache(maxsize=1)
def open_floor(settings: ShopSettings) -> Floor:
    """Return the shop; where there are too few goals for the literature's splits, a third is for each purpose."""
    catalogue = Catalogue.generate(products=settings.products, seed=settings.shop_seed)
    goals = build_goals(catalogue, settings.goals, settings.shop_seed)
    count = len(goals)
    if count >= 2000:
        splits = [split_indices(name, count) for name in ("train", "dev", "test")]
    else:
        third = count // 3
        splits = [range(2 * third, count), range(third, 2 * third), range(third)]
    train, dev, test = splits
    return Floor(
        Shop(catalogue, goals),
        train[: settings.training_goals],
        dev[: settings.dev_goals],
        test[: settings.test_goals],
        settings.step_limit,
    )


def rewards_stage(settings: ShopSettings, run: RunDirectory, workers: Workers) -> tuple[Path, list[LearntRewards]]:
    """Return the folder of both reward models, and how good they are."""

    def jobs(folder: Path) -> Sequence[Job]:
        return [Job(folder / f"{name}.jsonl", 1, learn, (settings, name, folder)) for name in (HONEST, NAIVE)]

    folder = workers.stage(run, Stage.LEARN_REWARDS, jobs)
    return folder, [read_jsonl(folder / f"{name}.jsonl", LearntRewards)[0] for name in (HONEST, NAIVE)]


def learn(settings: ShopSettings, name: str, folder: Path) -> None:
    """Fit one model: honest ones read the products' pages, and are fitted again to their own mistakes.

    The naive one reads titles and prices alone, and learns from many purchases of few goals, once.
    """
    file = folder / f"{name}.jsonl"
    if file.exists():
        return
    floor = open_floor(settings)
    rule = RulePolicy(floor.shop)
    fresh = gather(floor.opener(), floor.dev, rule, OracleReward(bounds=None), simulations=24)
    if name == HONEST:
        model, experience = learn_rewards(floor.opener(), floor.train, rule, rounds=settings.rounds, seed=settings.seed)
    else:
        goals = floor.train[: settings.naive_goals]
        rewards = OracleReward(bounds=None)
        experience = without_details(gather(floor.opener(), goals, rule, rewards, simulations=_NAIVE_SIMULATIONS))
        fresh = without_details(fresh)
        config = RewardModelConfig(pessimism=0.0)
        model = RewardModel.fit(
            experience.purchases, experience.rewards, experience.goals, config=config, seed=settings.seed
        )
    model.save_pretrained(folder / name)
    learnt = LearntRewards(
        name=name,
        goals=len(set(experience.goals)),
        purchases=len(experience),
        correlation=within_goal_correlation(model, experience),
        fresh_correlation=within_goal_correlation(model, fresh),
    )
    DurableLines(file).append(learnt.model_dump_json().encode())


def without_details(experience: Experience) -> Experience:
    """Return the same purchases as seen by who reads no further page."""
    bare = [replace(purchase, details="", offered=()) for purchase in experience.purchases]
    return Experience(bare, experience.rewards, experience.goals)
