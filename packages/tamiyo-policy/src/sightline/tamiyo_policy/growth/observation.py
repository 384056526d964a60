"""What the policy sees: a vector of B host features and S features per slot, and the blueprint in every slot.

The layout is a table that names every feature with its bounds and its kind, so that a normaliser can tell measured
quantities from flags and a report can name columns. The module does not normalise, and knows neither network nor
reward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.alpha import time_to_target
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

HISTORY = 5
"""Validations in the history of losses and accuracies, the latest last."""

FeatureKind = Literal["continuous", "binary", "sentinel"]

_STAGES = tuple(Stage)
_WORST_LOSS = 1e6
_LOSS_BOUND = math.log1p(_WORST_LOSS) / 7
_MAX_POINTS = 100.0


class Feature(NamedTuple):
    """One kind of column of the observation."""

    name: str
    """What it shows, as a snake-case name."""
    size: int
    """Columns it fills."""
    kind: FeatureKind
    """"continuous" may be standardised; "binary" is 0 or 1; "sentinel" is -1 where there is no value yet and must not
    be standardised either."""
    low: float
    """Least value."""
    high: float
    """Greatest value."""


class Column(NamedTuple):
    """Where a feature lies."""

    feature: Feature
    """What it is."""
    slot: int | None
    """The slot it describes; None for the host."""
    start: int
    """Its first column."""


_BASE = (
    Feature("progress_of_episode", 1, "continuous", 0, 1),
    Feature("loss", 1, "continuous", 0, _LOSS_BOUND),
    Feature("accuracy", 1, "continuous", 0, 1),
    Feature("loss_history", HISTORY, "sentinel", -1, _LOSS_BOUND),
    Feature("accuracy_history", HISTORY, "sentinel", -1, 1),
    Feature("share_training", 1, "continuous", 0, 1),
    Feature("share_blending", 1, "continuous", 0, 1),
    Feature("share_holding_or_fossilized", 1, "continuous", 0, 1),
    Feature("last_action_success", 1, "binary", 0, 1),
    Feature("last_op", len(Op), "binary", 0, 1),
)
_STABILIZED = Feature("host_stabilized", 1, "binary", 0, 1)
_SLOT = (
    Feature("active", 1, "binary", 0, 1),
    Feature("stage", len(_STAGES), "binary", 0, 1),
    Feature("alpha", 1, "continuous", 0, 1),
    Feature("contribution", 1, "continuous", -1, 1),
    Feature("velocity", 1, "continuous", -1, 1),
    Feature("tempo", 1, "continuous", 0, 1),
    Feature("alpha_target", 1, "continuous", 0, 1),
    Feature("alpha_mode", 1, "continuous", 0, 1),
    Feature("ramp_steps_total", 1, "continuous", 0, 1),
    Feature("ramp_steps_done", 1, "continuous", 0, 1),
    Feature("time_to_target", 1, "continuous", 0, 1),
    Feature("alpha_velocity", 1, "continuous", -1, 1),
    Feature("operator", 1, "continuous", 0, 1),
    Feature("interaction", 1, "continuous", -1, 1),
    Feature("gradient_norm", 1, "continuous", 0, _LOSS_BOUND),
    Feature("health", 1, "sentinel", -1, 1),
    Feature("vanishing", 1, "binary", 0, 1),
    Feature("exploding", 1, "binary", 0, 1),
    Feature("previous_health", 1, "sentinel", -1, 1),
    Feature("epochs_in_stage", 1, "continuous", 0, 1),
    Feature("contribution_freshness", 1, "sentinel", -1, 1),
)
_AGE = Feature("age", 1, "continuous", 0, 1)


@dataclass(frozen=True, slots=True)
class ObservationLayout:
    """Which column of an observation shows what."""

    num_slots: int
    """K."""
    base: tuple[Feature, ...] = _BASE
    """The host's features, in order."""
    slot: tuple[Feature, ...] = (*_SLOT, _AGE)
    """The features of each slot, in order; slot after slot."""

    @classmethod
    def named(cls, name: Literal["v114", "v116"], num_slots: int = 3) -> ObservationLayout:
        """Return a layout by the name of its size at 3 slots.

        Args:
            name: "v114" has 24 + 30 K columns, with the host's stability and without a seed's age; "v116" has 23 + 31 K
                the other way round, and is what the constructor gives.
            num_slots: K.

        Raises:
            ValueError: there is no layout of that name.
        """
        if name == "v116":
            return cls(num_slots)
        if name == "v114":
            return cls(num_slots, base=(*_BASE, _STABILIZED), slot=_SLOT)
        raise ValueError(f"there is no observation layout {name!r:.40}; there are 'v114' and 'v116'")

    @property
    def dimension(self) -> int:
        """D = B + S K, the columns of an observation."""
        return sum(feature.size for feature in self.base) + self.num_slots * sum(feature.size for feature in self.slot)

    def columns(self) -> Iterator[Column]:
        """Return the table of the layout, in the order of the columns."""
        start = 0
        for feature in self.base:
            yield Column(feature, None, start)
            start += feature.size
        for index in range(self.num_slots):
            for feature in self.slot:
                yield Column(feature, index, start)
                start += feature.size

    def continuous(self) -> Tensor:
        """Return bool [D]: the columns that may be standardised."""
        return torch.cat(
            [torch.full((column.feature.size,), column.feature.kind == "continuous") for column in self.columns()]
        )

    def bounds(self) -> Tensor:
        """Return float32 [2, D]: the least and the greatest value of every column."""
        sides = [
            (column.feature.low, column.feature.high) for column in self.columns() for _ in range(column.feature.size)
        ]
        return torch.tensor(sides).T.contiguous()


@dataclass(frozen=True, slots=True)
class HostSignals:
    """What is known of E hosts besides their slots."""

    epoch: Tensor
    """int64 [E], environment steps since the episode began."""
    loss_history: Tensor
    """float32 [E, 5], validation losses in nats, the latest last; NaN where there was none yet."""
    accuracy_history: Tensor
    """float32 [E, 5], validation accuracies in percent; NaN where there was none yet."""
    steady_epochs: Tensor
    """int64 [E], validations in a row that improved the loss by less than 3 percent."""
    stabilized: Tensor
    """bool [E], whether there were ever three of those in a row."""
    last_op: Tensor
    """int64 [E], the last operation that was executed; WAIT at the beginning."""
    last_success: Tensor
    """bool [E], whether the last wanted operation was executed; True at the beginning."""

    @classmethod
    def start(cls, num_environments: int, *, device: torch.device | str = "cpu") -> HostSignals:
        """Return the signals of hosts that were never trained or validated."""
        counts = torch.zeros(num_environments, dtype=torch.int64, device=device)
        history = torch.full((num_environments, HISTORY), torch.nan, device=device)
        return cls(counts, history, history, counts, counts > 0, torch.full_like(counts, int(Op.WAIT)), counts == 0)

    def record(self, *, loss: Tensor, accuracy: Tensor) -> HostSignals:
        """Return the signals after a validation.

        Args:
            loss: float [E], mean loss in nats; one that is not finite is remembered as 1e6.
            accuracy: float [E], in percent.
        """
        loss = _finite(loss)
        before = self.loss_history[:, -1]
        steady = (before - loss) < 0.03 * before.abs()  # False where there was no validation before
        count = torch.where(steady, self.steady_epochs + 1, 0)
        return HostSignals(
            epoch=self.epoch,
            loss_history=torch.cat([self.loss_history[:, 1:], loss[:, None]], 1),
            accuracy_history=torch.cat([self.accuracy_history[:, 1:], accuracy[:, None]], 1),
            steady_epochs=count,
            stabilized=self.stabilized | (count >= 3),
            last_op=self.last_op,
            last_success=self.last_success,
        )

    def acted(self, *, op: Tensor, success: Tensor) -> HostSignals:
        """Return the signals after an environment step.

        Args:
            op: int64 [E], the operation that was executed.
            success: bool [E], whether it was the wanted one.
        """
        histories = self.loss_history, self.accuracy_history
        return HostSignals(self.epoch + 1, *histories, self.steady_epochs, self.stabilized, op, success)


def symlog(value: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|) (Hafner et al. 2023, equation 9): close to x near 0, a logarithm far away."""
    return value.sign() * value.abs().log1p()


def observe(
    states: SlotStates, signals: HostSignals, layout: ObservationLayout, *, horizon: int, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return the observation of E environments.

    Contributions, velocities and interactions are shown as symlog(points) / symlog(100), so that they stay within
    -1 and 1 without all large ones looking alike. An empty slot is zero in every column.

    Args:
        states: [E, K].
        signals: [E].
        layout: a layout with K slots.
        horizon: T, the steps of an episode.
        gamma: the discount; a contribution measured n epochs ago has the freshness gamma^n.

    Returns:
        float32 [E, D], every value finite and within `ObservationLayout.bounds`, and blueprint indices int64 [E, K],
        -1 where there is no module.

    Raises:
        ValueError: the layout is for another number of slots.
    """
    num_environments, num_slots = states.stage.shape
    if num_slots != layout.num_slots:
        raise ValueError(f"the layout has {layout.num_slots} slots and the states have {num_slots}")
    base = _base_features(states, signals, horizon)
    seeds = _slot_features(states, horizon, gamma)
    active = ~states.in_stage(Stage.DORMANT, Stage.UNKNOWN)
    host = torch.cat([base[feature.name].reshape(num_environments, -1) for feature in layout.base], 1)
    slots = torch.cat([seeds[feature.name].reshape(num_environments, num_slots, -1) for feature in layout.slot], 2)
    slots = torch.where(active[:, :, None], slots, 0.0).reshape(num_environments, -1)
    low, high = layout.bounds().to(host.device)
    return torch.cat([host, slots], 1).nan_to_num(nan=0.0).clamp(low, high), states.blueprint.clone()


def _base_features(states: SlotStates, signals: HostSignals, horizon: int) -> dict[str, Tensor]:
    """Return float32 [E] or [E, size] by name."""
    losses = symlog(_finite(signals.loss_history)) / 7
    accuracies = signals.accuracy_history / 100
    missing = signals.accuracy_history.isnan()
    share = {name: states.in_stage(*stages).float().mean(1) for name, stages in _SHARES.items()}
    return share | {
        "progress_of_episode": signals.epoch / horizon,
        "loss": torch.where(missing[:, -1], 0.0, losses[:, -1]),
        "accuracy": torch.where(missing[:, -1], 0.0, accuracies[:, -1]),
        "loss_history": torch.where(missing, -1.0, losses),
        "accuracy_history": torch.where(missing, -1.0, accuracies),
        "last_action_success": signals.last_success.float(),
        "last_op": torch.nn.functional.one_hot(signals.last_op, len(Op)).float(),
        "host_stabilized": signals.stabilized.float(),
    }


_SHARES = {
    "share_training": (Stage.TRAINING,),
    "share_blending": (Stage.BLENDING,),
    "share_holding_or_fossilized": (Stage.HOLDING, Stage.FOSSILIZED),
}


def _slot_features(states: SlotStates, horizon: int, gamma: float) -> dict[str, Tensor]:
    """Return float32 [E, K] or [E, K, size] by name."""
    freshness = gamma ** states.contribution_age.clamp(min=0).float()
    codes = torch.tensor([int(stage) for stage in _STAGES], device=states.stage.device)
    return {
        "active": torch.ones_like(states.alpha),
        "stage": (states.stage[:, :, None] == codes).float(),
        "alpha": states.alpha,
        "contribution": _points(states.contribution),
        "velocity": _points(states.velocity),
        "tempo": states.tempo_steps / 12,
        "alpha_target": states.alpha_target,
        "alpha_mode": states.alpha_mode / 2,
        "ramp_steps_total": states.alpha_steps_total / horizon,
        "ramp_steps_done": states.alpha_steps_done / horizon,
        "time_to_target": time_to_target(states) / horizon,
        "alpha_velocity": states.alpha_velocity,
        "operator": states.operator / 2,
        "interaction": _points(states.interaction),
        "gradient_norm": symlog(_finite(states.gradient_norm)) / 7,
        "health": states.health,
        "vanishing": states.vanishing.float(),
        "exploding": states.exploding.float(),
        "previous_health": states.previous_health,
        "epochs_in_stage": states.epochs_in_stage / horizon,
        "contribution_freshness": torch.where(states.contribution_age < 0, -1.0, freshness),
        "age": states.age / horizon,
    }


def _points(value: Tensor) -> Tensor:
    return symlog(value) / math.log1p(_MAX_POINTS)


def _finite(value: Tensor) -> Tensor:
    return value.nan_to_num(nan=_WORST_LOSS, posinf=_WORST_LOSS, neginf=-_WORST_LOSS).clamp(max=_WORST_LOSS)
