"""Plans for goals of the shop by every method, carried out once with true rewards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from experiments.reasoning.settings import ShopSettings, Stage
from experiments.reasoning.shop.learning import HONEST, NAIVE, Floor, open_floor
from experiments.reasoning.shop.shop_model import RulePolicy
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.grammar import Purchase
from sightline.agents.planning import (
    EnvironmentModel,
    OracleReward,
    RewardModel,
    Rewards,
    TextPlan,
    action_texts,
    beam_search,
    best_of_n,
    search_plan,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl

ORACLE, BEST_OF_N, BEAM = "oracle", "best of N", "beam"
Method = Literal["honest", "naive", "oracle", "best of N", "beam"]


class Trial(BaseModel):
    """One goal, planned for and shopped once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    method: Method
    """How the plan was made."""
    simulations: int
    """Budget of the search; of rivals, the budget of the search whose steps they were given."""
    pessimism: float
    """Caution of the reward model."""
    goal: int
    """Which."""
    value: float
    """What the plan seemed to be worth; by the oracle, what it is."""
    own_value: float
    """What the actor's own way seemed to be worth."""
    reward: float
    """What the plan earned."""
    own_reward: float
    """What the actor's own way earned."""
    steps: int
    """Taken in the environment in search."""
    executed: int
    """Steps of the plan."""
    judged: int
    """Pages that the policy was asked about."""
    seconds: float
    """CPU seconds."""

    def reward_with(self, margin: float) -> float:
        """Return what is earned where the actor's own way is left only for a plan that seems so much better."""
        return self.reward if self.value > self.own_value + margin else self.own_reward


class Unread:
    """A reward model as it is asked by who reads titles and prices alone.

    Args:
        model: which.
    """

    is_oracle = False

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self.bounds = model.bounds

    def judge(self, purchases: Sequence[Purchase]) -> NDArray[np.float64]:
        """See `Rewards.judge`."""
        return self._model.judge([replace(purchase, details="", offered=()) for purchase in purchases])


def choose_stage(settings: ShopSettings, run: RunDirectory, workers: Workers, models: Path) -> list[Trial]:
    """Return honest searches of the development goals at all budgets and cautions."""
    asked: list[tuple[Method, int, float]] = [
        ("honest", simulations, pessimism) for simulations in settings.simulations for pessimism in settings.pessimism
    ]
    return _stage(settings, run, workers, Stage.CHOOSE, models, asked, "dev", {})


def trials_stage(
    settings: ShopSettings, run: RunDirectory, workers: Workers, models: Path, pessimism: float, steps: dict[int, int]
) -> list[Trial]:
    """Return all methods' trials of the test goals.

    Args:
        settings: budgets.
        run: run that the stage belongs to.
        workers: processes.
        models: folder of the reward models.
        pessimism: caution that was chosen.
        steps: steps that the search took on development goals at each budget, which its rivals are given.
    """
    asked: list[tuple[Method, int, float]] = [("honest", budget, pessimism) for budget in settings.simulations]
    asked += [("oracle", budget, 0.0) for budget in settings.simulations]
    asked += [("naive", budget, 0.0) for budget in settings.simulations]
    asked += [(rival, budget, pessimism) for rival in ("best of N", "beam") for budget in settings.simulations]
    return _stage(settings, run, workers, Stage.SHOP, models, asked, "test", steps)


def _stage(
    settings: ShopSettings,
    run: RunDirectory,
    workers: Workers,
    stage: Stage,
    models: Path,
    asked: Sequence[tuple[Method, int, float]],
    split: Literal["dev", "test"],
    steps: dict[int, int],
) -> list[Trial]:
    goals = settings.dev_goals if split == "dev" else settings.test_goals

    def file(folder: Path, each: tuple[Method, int, float]) -> Path:
        return folder / f"{each[0].replace(' ', '-')}-{each[1]}-{each[2]:g}.jsonl"

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(
                file(folder, each),
                goals,
                shop_for,
                (settings, each, split, models, steps.get(each[1], 0), file(folder, each)),
            )
            for each in sorted(asked, key=lambda each: -each[1])
        ]

    folder = workers.stage(run, stage, jobs)
    return [trial for each in asked for trial in read_jsonl(file(folder, each), Trial)]


def shop_for(
    settings: ShopSettings,
    asked: tuple[Method, int, float],
    split: Literal["dev", "test"],
    models: Path,
    max_steps: int,
    file: Path,
) -> None:
    """Plan and shop for every goal of a split by one method; goes on where it was stopped."""
    method, simulations, pessimism = asked
    floor = open_floor(settings)
    goals = floor.dev if split == "dev" else floor.test
    rewards = _rewards(method, models, pessimism)
    lines = DurableLines(file)
    done = len(read_jsonl(file, Trial)) if file.exists() else 0
    for goal in goals[done:]:
        started = time.process_time()
        world, root = floor.open(goal, withhold=not rewards.is_oracle)
        model = EnvironmentModel(world, RulePolicy(floor.shop), rewards)
        plan = _plan(settings, method, model, root, simulations, max_steps, goal)
        seconds = time.process_time() - started
        own = model.judge([root])[0][1]
        trial = Trial(
            method=method,
            simulations=simulations,
            pessimism=pessimism,
            goal=goal,
            value=plan.value,
            own_value=plan.own_value or 0.0,
            reward=carry_out(floor, goal, plan.actions),
            own_reward=carry_out(floor, goal, action_texts(model, root, own.actions)) if own is not None else 0.0,
            steps=plan.steps,
            executed=len(plan.actions),
            judged=model.policy_states,
            seconds=round(seconds, 4),
        )
        lines.append(trial.model_dump_json().encode())


def carry_out(floor: Floor, goal: int, actions: Sequence[str]) -> float:
    """Return what following a plan once in a fresh episode earns."""
    world, state = floor.open(goal, withhold=False)
    reward = 0.0
    for action in actions:
        step = world.step(state, action)
        state, reward = step.state, step.reward
    return reward


def _rewards(method: Method, models: Path, pessimism: float) -> Rewards:
    if method == ORACLE:
        return OracleReward()
    if method == NAIVE:
        return Unread(RewardModel.from_pretrained(models / NAIVE))
    return RewardModel.from_pretrained(models / HONEST).with_pessimism(pessimism)


def _plan(
    settings: ShopSettings,
    method: Method,
    model: EnvironmentModel,
    root: Any,
    simulations: int,
    max_steps: int,
    goal: int,
) -> TextPlan:
    if method == BEST_OF_N:
        return best_of_n(model, root, max_steps=max_steps, seed=settings.seed + goal)
    if method == BEAM:
        return beam_search(model, root, width=settings.beam_width, max_steps=max_steps)
    return search_plan(model, root, simulations=simulations, seed=settings.seed + goal)
