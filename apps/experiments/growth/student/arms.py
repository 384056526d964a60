"""The arms of the experiment: trainings of a student with equal compute, which differ in when and where it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from experiments.growth.playing import training_job
from experiments.growth.stages import StudentStage
from experiments.growth.student.examples import read_decisions
from experiments.growth.student.networks import BLOCK, FAMILY, FEED_FORWARD, StudentNetworks, StudentSnapshot
from experiments.growth.student.settings import PLACES, GrownStudentSettings
from lab.jobs import Job, Workers
from lab.run import RunDirectory, slug
from sightline.retrieval.jsonl import DurableLines, read_jsonl
from sightline.tamiyo_policy import GrowthEnvironment, GrowthTrainingConfig, load_trained_policy
from sightline.tamiyo_policy.experiment import (
    Episode,
    GrowthRecord,
    Method,
    Schedule,
    learned,
    play_episodes,
    scheduled,
)
from sightline.tamiyo_policy.growth import NetworksEnvironment, growth_action_space
from sightline.tamiyo_policy.hosts import NOOP, Operator, SeedSetting, digits_data


class Arm(StrEnum):
    """What differs between trainings."""

    FINAL = "final size from the start"
    SMALL = "small to the end"
    HALFWAY = "blocks at half of the compute"
    FIFTEEN = "the rule of fifteen lines"
    LEARNED = "grown by the policy"


FIFTEEN_LINES = Schedule(((PLACES - 1, BLOCK), (0, FEED_FORWARD)))
"""The mixer of token hosts in the last slot first, then their small feed-forward layer in the first one."""


class StudentRecord(BaseModel):
    """What became of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    arm: Arm
    """What it was."""
    seed: int
    """Seed of first weights and order of batches."""
    test_loss: dict[int, float]
    """Goal of the test split -> mean cross-entropy of its decisions, in nats."""
    test_agreement: dict[int, float]
    """Goal of the test split -> share of its decisions at which a best action is the most probable."""
    validation_loss: float
    """Mean cross-entropy on the decisions for validation at the end, in nats."""
    compute: int
    """Floating-point operations that might be spent."""
    spent: int
    """Those that were spent in training."""
    looked: int
    """Those of validations before the end, which are not charged."""
    last_step: int
    """Those of a step at the end, or more; no training exceeds the compute by as many."""
    steps: int
    """Optimiser steps."""
    parameters: int
    """Parameters at the end, with all that stands in places."""
    topology: tuple[int, ...]
    """Blueprint in each place at the end, 0 for none."""
    stages: tuple[str, ...] = ()
    """Text for each place, one hexadecimal digit per decision: its `Stage` after it; for arms that decide."""
    rollbacks: int = 0
    """Number of times the governor went back."""


def students_stage(
    settings: GrownStudentSettings, run: RunDirectory, workers: Workers, decisions: Path
) -> dict[Arm, list[StudentRecord]]:
    """Return the trainings of every arm, one for each seed; policies are trained before, unless they are given."""
    policies = settings.policies or _train_policies(settings, run, workers)

    def jobs(folder: Path) -> list[Job]:
        return [
            Job(file, 1, _train_student, (settings, decisions, arm, seed, policies[place % len(policies)], file))
            for arm in reversed(Arm)  # those that look take longest
            for place, seed in enumerate(settings.seeds)
            for file in [_file(folder, arm, seed)]
        ]

    folder = workers.stage(run, StudentStage.STUDENTS, jobs)
    return {arm: [read_jsonl(_file(folder, arm, seed), StudentRecord)[0] for seed in settings.seeds] for arm in Arm}


def _train_policies(settings: GrownStudentSettings, run: RunDirectory, workers: Workers) -> tuple[Path, ...]:
    """Return the folders of policies that learned on token hosts, as those of `apps/headroom.py` do."""
    names = {seed: f"learned-seed{seed}" for seed in settings.policy_seeds}
    folder = workers.stage(
        run,
        StudentStage.POLICIES,
        lambda work: [training_job(settings.headroom, seed, work / name) for seed, name in names.items()],
    )
    return tuple(folder / name for name in names.values())


def _file(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"{slug(arm)}-seed{seed}.jsonl"


def _train_student(
    settings: GrownStudentSettings, decisions: Path, arm: Arm, seed: int, policy: Path, file: Path
) -> None:
    """Train one student and write its record; what a killed process began is begun anew."""
    lines = DurableLines(file)
    if lines.cut() == 1:
        return
    data = read_decisions(decisions, settings.validation_decisions)
    layers = settings.student.layers if arm is Arm.FINAL else settings.small_layers
    networks = StudentNetworks(data, settings, layers)
    if arm in (Arm.LEARNED, Arm.FIFTEEN):
        record = _play(networks, settings, _method(arm, settings, policy), arm, seed)
    else:
        half = {settings.epochs // 2: range(PLACES - settings.missing_blocks, PLACES)}
        record = _follow(networks, settings, half if arm is Arm.HALFWAY else {}, arm, seed)
    lines.append(record.model_dump_json().encode())


def _method(arm: Arm, settings: GrownStudentSettings, policy: Path) -> Method:
    """Return what decides; a policy draws its actions at random, as it was trained."""
    if arm is Arm.FIFTEEN:
        return scheduled(growth_action_space(PLACES), [FIFTEEN_LINES])
    one = GrowthEnvironment(digits_data(), 1, config=settings.headroom.growth)
    return learned(load_trained_policy(policy, one, GrowthTrainingConfig()), deterministic=False, seed=settings.seed)


def _play(
    networks: StudentNetworks, settings: GrownStudentSettings, method: Method, arm: Arm, seed: int
) -> StudentRecord:
    """Train a student whose growth is decided at every epoch, by the environment of token hosts."""
    environment = NetworksEnvironment(networks, StudentSnapshot(networks), config=settings.headroom.growth)
    ((played,),) = play_episodes(environment, [Episode(FAMILY, seed)], method)
    return _record(networks, arm, seed, environment_setting(environment), played)


def environment_setting(environment: NetworksEnvironment) -> SeedSetting:
    """Return what stands in the places of an environment's student, with its share."""
    slots = environment.slots
    there = np.where(slots.in_forward.numpy(), slots.blueprint.numpy(), -1)
    return SeedSetting(there, slots.alpha.numpy(), slots.operator.numpy(), (slots.alpha <= 0).numpy())


def _follow(
    networks: StudentNetworks, settings: GrownStudentSettings, plan: Mapping[int, Sequence[int]], arm: Arm, seed: int
) -> StudentRecord:
    """Train a student that gets blocks at fixed epochs, in full and at once, and never looks at a validation.

    Args:
        networks: the student.
        settings: settings of the run.
        plan: epoch -> places that get a block.
        arm: name of the training.
        seed: seed of the student.
    """
    networks.reset([seed], [FAMILY])
    blueprint = np.full((1, PLACES), -1)
    for epoch in range(settings.epochs):
        for slot in plan.get(epoch, ()):
            networks.plant(0, slot, BLOCK, epoch)
            blueprint[0, slot] = BLOCK
        networks.interval(whole(blueprint), np.zeros((1, PLACES), np.bool_), epoch)
    return _record(networks, arm, seed, whole(blueprint), None)


def whole(blueprint: np.ndarray) -> SeedSetting:
    """Return the setting in which what stands in the places [1, K] has all of its share."""
    there = blueprint >= 0
    add = np.full(blueprint.shape, int(Operator.ADD))
    return SeedSetting(blueprint, there.astype(np.float32), add, np.zeros(blueprint.shape, np.bool_))


def _record(
    networks: StudentNetworks, arm: Arm, seed: int, setting: SeedSetting, played: GrowthRecord | None
) -> StudentRecord:
    looked = networks.looked
    everything = np.arange(2**PLACES) == 2**PLACES - 1
    _, losses = networks.measure(setting, everything[None])
    tested = networks.test(setting)
    grown = networks.seed_sizes(setting.blueprint, setting.operator)
    topology = tuple(np.where(setting.blueprint >= 0, setting.blueprint, NOOP)[0].tolist())
    return StudentRecord(
        arm=arm,
        seed=seed,
        test_loss=networks.by_goal(tested.losses),
        test_agreement=networks.by_goal(tested.right),
        validation_loss=float(losses[0, -1]),
        compute=networks.compute,
        spent=networks.spent,
        looked=looked,
        last_step=networks.last_cost,
        steps=networks.steps,
        parameters=int(networks.host_sizes()[0] + grown.sum()),
        topology=topology,
        stages=() if played is None else played.stages,
        rollbacks=0 if played is None else played.rollbacks,
    )
