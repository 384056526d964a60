"""Fixed topologies: what networks reach that are given their modules at birth, with nothing decided on the way.

The baselines of growth, and what exhaustive search chooses the best of. Knows nothing about stages or policies.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.tamiyo_policy.growth.config import RewardConfig
from sightline.tamiyo_policy.growth.rewards import growth_score, reference_sizes
from sightline.tamiyo_policy.hosts.blueprints import Blueprint
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.hosts import Host
from sightline.tamiyo_policy.hosts.operations import NOOP
from sightline.tamiyo_policy.hosts.slots import Operator
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting
from sightline.tamiyo_policy.hosts.training import StackedTraining

Topology = tuple[int, ...]
"""The blueprint id in each slot, `NOOP` for an empty one."""


@dataclass(frozen=True)
class TopologyRun:
    """One network with a topology, to be trained."""

    topology: Topology
    """K blueprint ids."""
    family: str
    """The host's family."""
    seed: int
    """Seed of its draws; equal seeds make runs comparable."""


@dataclass(frozen=True)
class TopologyResult:
    """What one network reached."""

    run: TopologyRun
    """What was trained."""
    accuracy: float
    """Percent of the validation part, mean of the last measurements."""
    score: float
    """J in points."""
    parameters: int
    """Number of parameters of its modules."""
    test_accuracy: float
    """Percent of the test part; NaN unless asked for."""
    test_score: float
    """J on the test part in points; NaN likewise."""
    affordable: bool
    """Whether the budget of the instance pays for the modules."""


def all_topologies(blueprints: Mapping[int, Blueprint], num_slots: int) -> list[Topology]:
    """Return every assignment of a blueprint or nothing to the slots: (1 + blueprints)^K topologies."""
    return list(itertools.product([NOOP, *sorted(blueprints)], repeat=num_slots))


def train_topologies(
    runs: Sequence[TopologyRun],
    data: ClassificationData,
    host: Host,
    blueprints: Mapping[int, Blueprint],
    *,
    channels: int,
    training: HostTrainingConfig | None = None,
    reward: RewardConfig | None = None,
    reference_parameters: float | None = None,
    stack: int = 12,
    read_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 1,
) -> Iterator[list[TopologyResult]]:
    """Train networks whose modules are in place from the first step, with alpha 1 and operator ADD.

    Args:
        runs: what to train.
        data: what the networks learn.
        host: what the modules stand in.
        blueprints: modules by id.
        channels: D, of the host.
        training: settings of the training; 60 intervals by default.
        reward: rent, and how many last measurements are averaged.
        reference_parameters: parameters by which rent is measured; None for those of each host.
        stack: networks trained at once.
        read_test: whether the test part is read at the end; for final reports only.
        device: device of the networks.
        workers: threads that share a stack among them; see `StackedTraining`.

    Yields:
        The results of the next `stack` runs, in order.

    Raises:
        ValueError: a topology has another number of slots than the host, or a blueprint that does not exist.
    """
    training, reward = training or HostTrainingConfig(), reward or RewardConfig()
    for run in runs:
        if len(run.topology) != host.num_slots or not set(run.topology) <= {NOOP, *blueprints}:
            raise ValueError(
                f"topology {run.topology!r} must name {host.num_slots} blueprints out of {sorted(blueprints)}, "
                f"{NOOP} for none"
            )
    for start in range(0, len(runs), stack):
        part = runs[start : start + stack]
        stacked = StackedTraining(
            data,
            host,
            blueprints,
            len(part),
            channels=channels,
            config=training,
            device=device,
            workers=min(workers, len(part)),
        )
        yield _train(stacked, part, reward, reference_parameters, read_test=read_test)


def topology_setting(topologies: NDArray[np.int64]) -> SeedSetting:
    """Return the setting in which the modules of topologies [E, K] run in full."""
    grown = topologies != NOOP
    return SeedSetting(
        blueprint=np.where(grown, topologies, -1),
        alpha=grown.astype(np.float32),
        operator=np.full(topologies.shape, int(Operator.ADD)),
        straight_through=np.zeros(topologies.shape, np.bool_),
    )


def _train(
    stacked: StackedTraining,
    runs: Sequence[TopologyRun],
    reward: RewardConfig,
    reference_parameters: float | None,
    *,
    read_test: bool,
) -> list[TopologyResult]:
    topologies = np.array([run.topology for run in runs], np.int64)
    setting = topology_setting(topologies)
    stacked.reset([run.seed for run in runs], [run.family for run in runs])
    for network, slot in zip(*np.nonzero(topologies != NOOP), strict=True):
        stacked.plant(int(network), int(slot), int(topologies[network, slot]), 0)
    frozen = np.zeros(topologies.shape, np.bool_)
    whole = np.zeros((len(runs), 2 ** topologies.shape[1]), np.bool_)
    whole[:, -1] = True
    accuracies = []
    for step in range(stacked.config.steps):
        stacked.interval(setting, frozen, step)
        if step >= stacked.config.steps - reward.final_validations:
            accuracies.append(stacked.measure(setting, whole)[0][:, -1])
    accuracy = np.mean(accuracies, axis=0)
    parameters = stacked.model.seed_sizes(setting.blueprint, setting.operator).sum(1)
    test = stacked.test_accuracy(setting) if read_test else np.full(len(runs), np.nan)
    reference = reference_sizes(stacked.model.host_sizes(), reference_parameters)
    score, test_score = (
        growth_score(torch.from_numpy(values), torch.from_numpy(parameters), reference, rent=reward.rent).tolist()
        for values in (accuracy, test)
    )
    affordable = parameters <= stacked.allowances()
    columns = runs, accuracy.tolist(), score, parameters.tolist(), test.tolist(), test_score, affordable.tolist()
    return [TopologyResult(*row) for row in zip(*columns, strict=True)]
