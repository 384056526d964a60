"""Playing given episodes of growth with anything that acts, so that all methods meet the same hosts and data.

A method is a function that begins a stack of episodes and gives a function from situations to actions; fixed
topologies, which decide nothing, give records of the same kind. The test part is read only where `read_test` says so,
at the end of an episode and of nothing else. Knows nothing about training or statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.experiment.records import Episode, GrowthRecord
from sightline.tamiyo_policy.growth.networks_environment import NetworksEnvironment
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.growth.records import GrowthObservation, GrowthStep
from sightline.tamiyo_policy.growth.rewards import final_accuracy
from sightline.tamiyo_policy.growth.topologies import TopologyResult
from sightline.tamiyo_policy.hosts.operations import NOOP, Op
from sightline.tamiyo_policy.hosts.slots import SlotStates


@dataclass(frozen=True)
class GrowthSituation:
    """What may be known when the next action of E episodes is chosen."""

    observation: GrowthObservation
    """What a learned policy sees."""
    slots: SlotStates
    """[E, K], for rules."""
    signals: HostSignals
    """[E], for rules."""
    restarted: Tensor
    """bool [E], whether what happened before belongs to another course: at the start of an episode, and after a
    rollback."""


Act: TypeAlias = Callable[[GrowthSituation], Tensor]
"""Actions int64 [E, 8] for a situation."""

Method: TypeAlias = Callable[[Sequence[Episode]], Act]
"""Begins a stack of E episodes: what acts in them, with a memory of its own."""


def play_episodes(
    environment: NetworksEnvironment, episodes: Sequence[Episode], method: Method, *, read_test: bool = False
) -> Iterator[list[GrowthRecord]]:
    """Play episodes with one method, a stack of E at a time.

    Args:
        environment: E hosts; every stack begins with a reset.
        episodes: any number; the last stack is filled up with copies of its last episode, which are not recorded.
        method: what acts.
        read_test: whether hosts are measured on the test part when their episode is over; for final reports only.

    Yields:
        The records of the next stack, in the order of `episodes`.
    """
    size = environment.num_envs
    for start in range(0, len(episodes), size):
        part = list(episodes[start : start + size])
        records = _play(environment, part + [part[-1]] * (size - len(part)), method, read_test=read_test)
        yield records[: len(part)]


def topology_record(result: TopologyResult) -> GrowthRecord:
    """Return the record of a network that `train_topologies` trained."""
    read = not math.isnan(result.test_accuracy)
    return GrowthRecord(
        family=result.run.family,
        seed=result.run.seed,
        score=result.score,
        accuracy=result.accuracy,
        parameters=result.parameters,
        test_score=result.test_score if read else None,
        test_accuracy=result.test_accuracy if read else None,
        topology=result.run.topology,
    )


def _play(
    environment: NetworksEnvironment, episodes: Sequence[Episode], method: Method, *, read_test: bool
) -> list[GrowthRecord]:
    act = method(episodes)
    observation = environment.reset([episode.seed for episode in episodes], [episode.family for episode in episodes])
    restarted = torch.ones(len(episodes), dtype=torch.bool)
    taken: list[GrowthStep] = []
    stages: list[Tensor] = []
    for _ in range(environment.config.training.steps):
        situation = GrowthSituation(observation, environment.slots, environment.signals, restarted)
        taken.append(environment.step(act(situation)))
        observation, restarted = taken[-1].observation, taken[-1].terminated
        stages.append(environment.slots.stage)
    return _records(environment, episodes, taken, torch.stack(stages), read_test=read_test)


def _records(
    environment: NetworksEnvironment,
    episodes: Sequence[Episode],
    taken: Sequence[GrowthStep],
    stages: Tensor,
    *,
    read_test: bool,
) -> list[GrowthRecord]:
    last = taken[-1].info
    accuracies = final_accuracy(environment.signals, environment.config.reward).tolist()
    blueprints = torch.where(environment.slots.occupied, environment.slots.blueprint, NOOP).tolist()
    rewards = torch.stack([step.reward for step in taken]).sum(0).tolist()
    panics = torch.stack([step.info.panic != 0 for step in taken]).sum(0).tolist()
    operations = torch.stack([step.info.effective_op for step in taken], 1).numpy()
    test: list[tuple[float | None, float | None]] = [(None, None)] * len(episodes)
    if read_test:
        test_accuracies = environment.test_accuracy()
        scores = environment.score(torch.from_numpy(test_accuracies), last.parameters)
        test = list(zip(scores.tolist(), test_accuracies.tolist(), strict=True))
    return [
        GrowthRecord(
            family=episode.family,
            seed=episode.seed,
            score=float(last.score[row]),
            accuracy=accuracies[row],
            parameters=float(last.parameters[row]),
            test_score=test[row][0],
            test_accuracy=test[row][1],
            total_reward=rewards[row],
            rollbacks=panics[row],
            operations=_counts(operations[row]),
            topology=tuple(blueprints[row]),
            stages=tuple("".join(f"{code:x}" for code in column) for column in stages[:, row].T.tolist()),
        )
        for row, episode in enumerate(episodes)
    ]


def _counts(operations: np.ndarray) -> dict[str, int]:
    counts = np.bincount(operations, minlength=len(Op))
    return {op.name.lower(): int(counts[op]) for op in Op if counts[op]}
