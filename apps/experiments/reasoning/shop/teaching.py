"""Search as a teacher: the packaged student imitates plans that search found for training goals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from experiments.reasoning.settings import ShopSettings, Stage
from experiments.reasoning.shop.learning import open_floor
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents import LanguageModelActor, ReadingAgent, baseline_react
from sightline.agents.grammar import webshop_grammar
from sightline.agents.planning import (
    AgentPolicy,
    EnvironmentModel,
    EnvironmentWorld,
    OracleReward,
    demonstrate,
    search_plan,
)
from sightline.agents.records import Event, Situation
from sightline.agents.student import (
    PACKAGED_STUDENT,
    StudentDataConfig,
    StudentTrainingConfig,
    student_examples,
    train_student,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl
from sightline.webshop_env import WebShopEnv

BEFORE, AFTER = "before", "after"
_STUDENT = "student"
_TURNS, _CHARACTERS = 3, 120


class Lesson(BaseModel):
    """A plan for one training goal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    goal: int
    """Which."""
    actions: tuple[str, ...]
    """Actions of the plan."""
    reward: float
    """What it earns."""
    own_reward: float
    """What the student's own way earned."""
    steps: int
    """Taken in the environment in search."""


class Episode(BaseModel):
    """One fresh goal, shopped for by a student."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    goal: int
    """Which."""
    reward: float
    """What was earned."""
    steps: int
    """Taken."""


def teach_stage(
    settings: ShopSettings, run: RunDirectory, workers: Workers
) -> tuple[list[Lesson], dict[str, list[Episode]]]:
    """Return the plans that were imitated, and the fresh goals as the student shops for them before and after."""

    def jobs(folder: Path) -> Sequence[Job]:
        plans = Job(folder / "lessons.jsonl", settings.teaching_goals, make_lessons, (settings, folder))
        before = Job(
            folder / f"{BEFORE}.jsonl",
            settings.fresh_goals,
            shop,
            (settings, PACKAGED_STUDENT, folder / f"{BEFORE}.jsonl"),
        )
        learnt = Job(folder / "trained.jsonl", 1, learn, (settings, folder), after=plans)
        after = Job(
            folder / f"{AFTER}.jsonl",
            settings.fresh_goals,
            shop,
            (settings, folder / _STUDENT, folder / f"{AFTER}.jsonl"),
            after=learnt,
        )
        return [plans, before, learnt, after]

    folder = workers.stage(run, Stage.TEACH, jobs)
    episodes = {name: read_jsonl(folder / f"{name}.jsonl", Episode) for name in (BEFORE, AFTER)}
    return read_jsonl(folder / "lessons.jsonl", Lesson), episodes


def make_lessons(settings: ShopSettings, folder: Path) -> None:
    """Search for training goals with the student's own proposals and true rewards; goes on where it was stopped."""
    floor = open_floor(settings)
    env = _environment(settings)
    agent = _agent(PACKAGED_STUDENT)
    file = folder / "lessons.jsonl"
    done = len(read_jsonl(file, Lesson)) if file.exists() else 0
    for goal in floor.train[: settings.teaching_goals][done:]:
        env.reset(options={"goal": goal})
        world = EnvironmentWorld(env, webshop_grammar)
        model = EnvironmentModel(world, AgentPolicy(agent), OracleReward())
        plan = search_plan(model, world.root(), simulations=settings.teaching_simulations, seed=settings.seed)
        lesson = Lesson(
            goal=goal,
            actions=plan.actions,
            reward=plan.value,
            own_reward=plan.own_value or 0.0,
            steps=plan.steps,
        )
        DurableLines(file).append(lesson.model_dump_json().encode())


def learn(settings: ShopSettings, folder: Path) -> None:
    """Go on training the packaged student on the plans that met their goals."""
    env = _environment(settings)
    demonstrations: list[tuple[Situation, str]] = []
    for lesson in read_jsonl(folder / "lessons.jsonl", Lesson):
        if lesson.reward == 1:
            env.reset(options={"goal": lesson.goal})
            world = EnvironmentWorld(env, webshop_grammar)
            demonstrations += demonstrate(world, world.root(), lesson.actions)
    config = StudentDataConfig(full_page_share=1.0, history_turns=_TURNS, history_characters=_CHARACTERS, views=1)
    rng = np.random.default_rng(settings.seed)
    examples = student_examples(demonstrations, webshop_grammar, config, rng)
    if not (folder / _STUDENT).exists():
        training = StudentTrainingConfig(
            steps=settings.teaching_steps, learning_rate=5e-4, warmup=20, reading=0, seed=settings.seed
        )
        train_student(
            examples,
            webshop_grammar,
            training,
            folder / _STUDENT,
            start_from=PACKAGED_STUDENT,
            command="uv run apps/reasoning.py --only teaching",
        )
    DurableLines(folder / "trained.jsonl").append(b"{}")


def shop(settings: ShopSettings, student: Path, file: Path) -> None:
    """Shop for fresh goals greedily; goes on where it was stopped."""
    floor = open_floor(settings)
    env = _environment(settings)
    agent = _agent(student)
    goals = range(settings.fresh_goals) if len(floor.shop.goals) >= 2000 else floor.test[: settings.fresh_goals]
    done = len(read_jsonl(file, Episode)) if file.exists() else 0
    for goal in goals[done:]:
        observation, info = env.reset(options={"goal": goal})
        events: tuple[Event, ...] = (Event("OBS", observation),)
        reward, steps, over = 0.0, 0, False
        while not over:
            actions = webshop_grammar.candidate_actions(info["instruction_text"], info["available_actions"])
            [decision] = agent.choose([Situation(info["instruction_text"], events, actions)])
            observation, reward, terminated, truncated, info = env.step(decision.action)
            events = (*events, Event("ACT", decision.action), Event("OBS", observation))
            steps, over = steps + 1, terminated or truncated
        DurableLines(file).append(Episode(goal=goal, reward=reward, steps=steps).model_dump_json().encode())


def _environment(settings: ShopSettings) -> WebShopEnv:
    floor = open_floor(settings)
    return WebShopEnv(shop=floor.shop, observation_mode="text_rich", step_limit=settings.step_limit)


def _agent(student: Path) -> ReadingAgent:
    actor = LanguageModelActor(student, batch_size=16, length_normalised=True, temperature=0.25)
    return baseline_react(actor, webshop_grammar, history_turns=_TURNS, history_characters=_CHARACTERS)
