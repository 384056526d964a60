"""The student's episodes, and the moments of them that are worth a look, with the teacher's hints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.teaching.parts import Part, chunks, spread
from experiments.teaching.settings import Stage, StudentSettings, TeachingSettings
from experiments.teaching.student import open_policy
from experiments.teaching.teachers import open_teacher
from experiments.teaching.world import World, goal_tasks, open_shop
from lab.jobs import Workers
from lab.run import RunDirectory
from sightline.teachability import Episode, LabelledSnapshot, Labeller, Snapshot, ValueGraph, mine_failures
from sightline.teachability import collect_episodes as play
from sightline.teachability.jsonl import read_jsonl, write_jsonl
from sightline.teachability.labels import measure_uncertainty
from sightline.teachability.records import Split
from sightline.teachability.training import replay_pool

ROLLOUTS, MOMENTS, REPLAY = "rollouts.jsonl", "failure_snapshots.jsonl", "replay.jsonl"
SPLITS: tuple[Split, ...] = ("label", "calibration", "panel")
_GOALS_A_PART = 40
_SUCCESSES = 3
"""One moment of a success, as a control, for so many of failures."""


def collect_episodes_stage(
    settings: TeachingSettings, run: RunDirectory, workers: Workers, world: World
) -> list[Episode]:
    """Return sampled episodes of every goal of the pool."""
    goals = sorted(world.manifest.tasks)
    parts = [
        Part(f"goals{chosen[0]}", len(chosen) * settings.rollouts, play_part, (settings, chosen))
        for chosen in chunks(goals, _GOALS_A_PART)
    ]
    episodes = spread(run, workers, Stage.EPISODES, parts, Episode)
    folder = run.stage(Stage.EPISODES, lambda folder: write_jsonl(folder / ROLLOUTS, episodes))
    return read_jsonl(folder / ROLLOUTS, Episode)


def play_part(settings: TeachingSettings, goals: Sequence[int], _: Path) -> list[Episode]:
    """Play some goals, in a worker."""
    dynamics = open_shop(settings)
    tasks = goal_tasks(dynamics, goals)
    return play(dynamics, open_policy(settings), tasks, seed=settings.seed, rollouts=range(settings.rollouts))


def mine_moments_stage(
    settings: TeachingSettings, run: RunDirectory, world: World, episodes: Sequence[Episode]
) -> list[LabelledSnapshot]:
    """Return moments with the teacher's hints and the splits of their goals; three of four are of failures.

    Beside them stand the states of the student's successes outside the panel, which trainings replay.
    """

    def compute(folder: Path) -> None:
        found = mine(settings, episodes)
        labeller = Labeller(world.dynamics, open_policy(settings), open_teacher(settings, world.dynamics))
        hinted = [
            one.model_copy(update={"split": world.manifest.split(one.snapshot.task)}) for one in labeller.advise(found)
        ]
        write_jsonl(folder / MOMENTS, hinted)
        panel = {group for group, split in world.manifest.groups.items() if split == "panel"}
        write_jsonl(folder / REPLAY, replay_pool(episodes, exclude=panel))

    return read_jsonl(run.stage(Stage.MOMENTS, compute) / MOMENTS, LabelledSnapshot)


def mine(settings: TeachingSettings, episodes: Sequence[Episode]) -> list[Snapshot]:
    """Return at most two moments of each goal's failures, and of some goals one of a success."""
    dynamics, policy = open_shop(settings), open_policy(settings)

    def values(_: Episode) -> ValueGraph:
        return ValueGraph(dynamics, policy, tolerance=settings.tolerance, max_prompts=settings.max_prompts)

    failures = mine_failures(episodes, settings.mine, values=values, seed=settings.seed, per_task=2)
    successes = mine_failures(episodes, "retention", seed=settings.seed, per_task=1)
    taken = {one.id for one in failures}
    controls = sorted((one for one in successes if one.id not in taken), key=shuffled)
    return [*failures, *controls[: len(failures) // _SUCCESSES]]


def shuffled(snapshot: Snapshot) -> str:
    """Return a key that sorts snapshots into an order without meaning."""
    return hashlib.sha256(snapshot.id.encode()).hexdigest()


def uncertainty_of(settings: StudentSettings, one: LabelledSnapshot, episodes: dict[str, Episode]) -> float:
    """Return U of a moment from what the student's episode has recorded; it costs nothing."""
    step = episodes[one.snapshot.trajectory_id].steps[one.snapshot.step]
    found = measure_uncertainty(np.array(step.probabilities), temperature=settings.temperature)
    return found.entropy_normalised
