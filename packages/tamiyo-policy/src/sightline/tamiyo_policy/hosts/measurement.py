"""What seeds in stacked hosts are worth at the moment: settings, validations and counterfactuals of slot states.

Joins the slots' states to the networks they describe; knows nothing about actions, rewards or episodes.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.counterfactual import (
    coalition,
    contributions,
    gain,
    interactions,
    shapley_values,
    wanted_coalitions,
)
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting


class Measurable(Protocol):
    """Networks whose coalitions of seeds can be validated."""

    def measure(
        self, setting: SeedSetting, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return accuracies in percent and losses in nats of wanted coalitions, [E, 2^K], NaN where not wanted."""
        ...


class HostMeasurement(NamedTuple):
    """A validation of E hosts, all float32."""

    accuracy: Tensor
    """[E], in percent."""
    loss: Tensor
    """[E], in nats."""
    gain: Tensor
    """[E], accuracy minus accuracy with all seeds off, in points."""
    contribution: Tensor
    """[E, K], accuracy minus accuracy without the seed, in points; NaN where there is no live seed."""
    interaction: Tensor
    """[E, K], sum of the seed's pairwise interactions in points; NaN where there is no live seed."""


def seed_setting(slots: SlotStates) -> SeedSetting:
    """Return what slots [E, K] compute in the forward pass."""
    return SeedSetting(
        blueprint=torch.where(slots.in_forward, slots.blueprint, -1).numpy(),
        alpha=slots.alpha.numpy(),
        operator=slots.operator.numpy(),
        straight_through=slots.in_stage(Stage.TRAINING).numpy(),
    )


def measure_hosts(training: Measurable, slots: SlotStates, *, counterfactuals: bool = True) -> HostMeasurement:
    """Validate every host with all seeds, without any, and with every coalition of live seeds that pairs need.

    Args:
        training: the networks; unchanged.
        slots: [E, K].
        counterfactuals: whether coalitions are measured; without, only hosts with all seeds are, and gains,
            contributions and interactions are 0.
    """
    live, fossil = _players(slots)
    everything = coalition(live | fossil)
    whole = np.arange(2 ** live.shape[1]) == everything[:, None]
    wanted = wanted_coalitions(live, fossil, "pairs") if counterfactuals else whole
    accuracies, losses = training.measure(seed_setting(slots), wanted)
    nothing = np.where(live, 0.0, np.nan)
    worth = np.zeros(len(live)), nothing, nothing
    if counterfactuals:
        of_seeds = (function(accuracies, live, fossil) for function in (contributions, interactions))
        worth = gain(accuracies, live | fossil), *of_seeds
    found = accuracies[whole], losses[whole], *worth
    return HostMeasurement(*(torch.from_numpy(values.astype(np.float32)) for values in found))


def measure_shapley(training: Measurable, slots: SlotStates) -> Tensor:
    """Return exact Shapley values of all seeds that have an effect, fossils too: float32 [E, K] in points, else NaN.

    Args:
        training: the networks; unchanged.
        slots: [E, K].
    """
    live, fossil = _players(slots)
    accuracies, _ = training.measure(seed_setting(slots), wanted_coalitions(live, fossil, "every"))
    return torch.from_numpy(shapley_values(accuracies, live | fossil).astype(np.float32))


def _players(slots: SlotStates) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return seeds with an effect on the output: live ones and fossils, bool [E, K] each."""
    effective = slots.in_forward & (slots.alpha > 0)
    fossil = slots.in_stage(Stage.FOSSILIZED)
    return (effective & ~fossil).numpy(), (effective & fossil).numpy()
