"""The watchdog of host training: when validation says that a host is lost, take it back to its last good state.

The rules are pure functions of a loss history; what a snapshot is, and how it is taken and put back, is the host's
affair behind `RestorableHosts`. An environment step that panics ends its episode: the transition that was executed last
is to blame, gets the penalty and is terminal, and the earlier rewards of its episode are forfeit
(`RolloutBuffer.mark_rollback`). The module knows neither policy nor buffer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import GovernorConfig
from sightline.tamiyo_policy.hosts.lifecycle import remove
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage


class Panic(IntEnum):
    """Why a host is rolled back."""

    NONE = 0
    NOT_FINITE = 1
    FORGOTTEN = 2
    ANOMALY = 3


@dataclass(frozen=True, slots=True)
class GovernorState:
    """What the governor remembers of E hosts."""

    losses: Tensor
    """float32 [E, window], good losses, the latest last; NaN where there is none yet."""
    anomalies: Tensor
    """int64 [E], anomalous losses in a row."""
    snapshot_age: Tensor
    """int64 [E], epochs since the last snapshot."""

    @classmethod
    def start(
        cls, num_environments: int, config: GovernorConfig, *, device: torch.device | str = "cpu"
    ) -> GovernorState:
        """Return the state for fresh hosts, whose first snapshot has just been taken."""
        counts = torch.zeros(num_environments, dtype=torch.int64, device=device)
        return cls(torch.full((num_environments, config.window), torch.nan, device=device), counts, counts)

    def select(self, keep: Tensor, other: GovernorState) -> GovernorState:
        """Return these states where `keep` (bool [E]), the other ones elsewhere."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return GovernorState(*(torch.where(keep.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


class RestorableHosts(Protocol):
    """What the governor asks of the hosts; `where` is bool [E]."""

    def take_snapshot(self, where: Tensor) -> None:
        """Remember the parameters of these hosts and their fossils, in place of what was remembered before."""
        ...

    def restore_snapshot(self, where: Tensor) -> None:
        """Put the remembered parameters of these hosts and their fossils back."""
        ...

    def clear_optimizers(self, where: Tensor) -> None:
        """Forget all optimiser state of these hosts: momentum would carry on towards the state that was left."""
        ...


class GovernorOutcome(NamedTuple):
    """What the governor did after an epoch."""

    governor: GovernorState
    """Its state."""
    slots: SlotStates
    """[E, K], without experimental seeds where a host was rolled back."""
    panic: Tensor
    """int64 [E], a `Panic`."""


def judge(
    state: GovernorState, loss: Tensor, config: GovernorConfig, *, num_classes: float
) -> tuple[GovernorState, Tensor]:
    """Judge the validation losses of an epoch.

    At once: a loss that is not finite, and a loss within `chance_margin` of ln(num_classes) in a host whose mean was
    below `learned_share` of it. After `consecutive` epochs: a loss above the absolute bound, above the mean by
    `deviations` standard deviations, and above `mean_ratio` times the mean. Losses that are anomalous or panic do not
    enter the history, or the governor would grow used to them.

    Args:
        state: [E].
        loss: float [E], in nats.
        config: the bounds.
        num_classes: number of classes of the host's task.

    Returns:
        The state after the epoch, and panic int64 [E].
    """
    seen = (~state.losses.isnan()).sum(1)
    mean = state.losses.nanmean(1)  # NaN without history: every comparison with it is False
    deviation = ((state.losses - mean[:, None]) ** 2).nanmean(1).sqrt()
    lost = ~loss.isfinite()
    chance = math.log(num_classes)
    forgotten = (mean < config.learned_share * chance) & ((loss - chance).abs() <= config.chance_margin * chance)
    anomalous = (loss > config.absolute_loss) & (loss > mean + config.deviations * deviation)
    anomalous &= (loss > config.mean_ratio * mean) & (seen >= config.min_history)
    count = torch.where(anomalous, state.anomalies + 1, 0)
    panic = torch.where(anomalous & (count >= config.consecutive), int(Panic.ANOMALY), int(Panic.NONE))
    panic = torch.where(forgotten, int(Panic.FORGOTTEN), panic)
    panic = torch.where(lost, int(Panic.NOT_FINITE), panic)
    good = ~anomalous & (panic == Panic.NONE)
    losses = torch.where(good[:, None], torch.cat([state.losses[:, 1:], loss[:, None]], 1), state.losses)
    return GovernorState(losses, torch.where(panic == Panic.NONE, count, 0), state.snapshot_age + 1), panic


def remember_fossils(hosts: RestorableHosts, state: GovernorState, fossilized: Tensor) -> GovernorState:
    """Remember the hosts in which a seed has just become permanent, so that every rollback keeps every fossil.

    To be called between the operations and the epoch's training.

    Args:
        hosts: what is remembered.
        state: [E].
        fossilized: bool [E, K], from `apply_operations`.
    """
    where = fossilized.any(1)
    if bool(where.any()):
        hosts.take_snapshot(where)
    return GovernorState(state.losses, state.anomalies, torch.where(where, 0, state.snapshot_age))


def govern(
    hosts: RestorableHosts,
    state: GovernorState,
    slots: SlotStates,
    loss: Tensor,
    config: GovernorConfig,
    *,
    num_classes: float,
) -> GovernorOutcome:
    """Judge an epoch, take lost hosts back, and remember healthy ones every `snapshot_every` epochs.

    Args:
        hosts: what is restored and remembered.
        state: [E].
        slots: [E, K], after the epoch.
        loss: float [E], validation loss of the epoch in nats.
        config: the bounds.
        num_classes: number of classes of the hosts' task.
    """
    state, panic = judge(state, loss, config, num_classes=num_classes)
    panicked = panic != Panic.NONE
    if bool(panicked.any()):
        hosts.restore_snapshot(panicked)
        hosts.clear_optimizers(panicked)
        slots = prune_experimental(slots, panicked)
        # What a host reached with seeds that are gone is no measure of it: it would panic at every step from here on.
        state = replace(state, losses=torch.where(panicked[:, None], torch.nan, state.losses))
    due = ~panicked & (state.anomalies == 0) & (state.snapshot_age >= config.snapshot_every)
    if bool(due.any()):
        hosts.take_snapshot(due)
    age = torch.where(due | panicked, 0, state.snapshot_age)
    return GovernorOutcome(GovernorState(state.losses, state.anomalies, age), slots, panic)


def prune_experimental(slots: SlotStates, where: Tensor) -> SlotStates:
    """Return the slots without any seed that is not a fossil, in some environments.

    Args:
        slots: [E, K].
        where: bool [E].
    """
    return remove(slots, where[:, None] & slots.occupied & ~slots.in_stage(Stage.FOSSILIZED))


def preflight(state: GovernorState, op: Tensor, loss: Tensor, accuracy: Tensor) -> Tensor:
    """Return bool [E]: whether a host may be changed by an operation.

    Nothing is decided on measurements that are not finite, and no seed becomes permanent in a host whose loss is
    anomalous, as that host would be what a rollback restores.

    Args:
        state: [E].
        op: int64 [E], the operation.
        loss: float [E], of the last validation.
        accuracy: float [E], of the last validation.
    """
    return loss.isfinite() & accuracy.isfinite() & ((op != Op.FOSSILIZE) | (state.anomalies == 0))
