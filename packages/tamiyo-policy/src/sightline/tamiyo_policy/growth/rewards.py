"""The reward for growing: the change of a score of accuracy minus rent, and shaping by potentials.

Undiscounted, the scores' changes sum to the final score minus the first one; shaping by a potential of the state moves
reward in time and cannot change which policy is best (Ng, Harada and Russell 1999). Nothing here knows the host.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.growth.config import RewardConfig
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.hosts.slots import NUM_STAGE_CODES, SlotStates, Stage

_STAGE_POTENTIALS = {
    Stage.GERMINATED: 1.0,
    Stage.TRAINING: 2.0,
    Stage.BLENDING: 3.5,
    Stage.HOLDING: 5.5,
    Stage.FOSSILIZED: 6.0,
}
_POTENTIAL_BY_CODE = torch.zeros(NUM_STAGE_CODES)
for _stage, _value in _STAGE_POTENTIALS.items():
    _POTENTIAL_BY_CODE[_stage] = _value


def effective_parameters(states: SlotStates, parameters: Tensor) -> Tensor:
    """Return float32 [E]: parameters of all modules, each weighted by its alpha.

    Args:
        states: [E, K].
        parameters: [E, K], of the module in every slot; ignored where there is none.
    """
    return (states.alpha * torch.where(states.occupied, parameters, 0)).sum(1)


def growth_score(accuracy: Tensor, parameters: Tensor, host_parameters: Tensor | float, *, rent: float) -> Tensor:
    """Return J = accuracy - rent ln(1 + parameters / host_parameters), in points; what the policy is to maximise.

    Args:
        accuracy: float [E], in percent.
        parameters: float [E], of the seeds, from `effective_parameters`.
        host_parameters: parameters of the host alone, positive.
        rent: points.
    """
    return accuracy - rent * torch.log1p(parameters / host_parameters)


def reference_sizes(host_sizes: NDArray[np.int64], fixed: float | None) -> Tensor:
    """Return float32 [E], parameters by which rent is measured: each host's own [E], or a fixed number for all."""
    own = torch.from_numpy(host_sizes).float()
    return own if fixed is None else torch.full_like(own, fixed)


def final_accuracy(signals: HostSignals, config: RewardConfig) -> Tensor:
    """Return the mean of the last accuracies there are, float [E] in percent, which is less noisy than the last one."""
    return signals.accuracy_history[:, -config.final_validations :].nanmean(1)


def stage_potential(states: SlotStates) -> Tensor:
    """Return float32 [E]: how far all seeds of an environment have come, summed over the slots.

    GERMINATED 1, TRAINING 2, BLENDING 3.5, HOLDING 5.5, FOSSILIZED 6, else 0; and 0.3 for every epoch in such a stage,
    at most 2. It looks at every slot: a potential of the slot alone that an action names would not telescope.
    """
    base = _POTENTIAL_BY_CODE.to(states.stage.device)[states.stage]
    bonus = (0.3 * states.epochs_in_stage).clamp(max=2.0)
    return torch.where(base > 0, base + bonus, 0.0).sum(1)


def potential_shaping(before: Tensor, after: Tensor, *, gamma: float, terminal: Tensor) -> Tensor:
    """Return shaping gamma Phi(after) - Phi(before), with Phi 0 after the end (Ng, Harada and Russell 1999, theorem 1).

    Discounted, an episode's shaping sums to -Phi(first state) whatever is done in between.

    Args:
        before: float [E], potential of the state that was acted in.
        after: float [E], potential of the state that followed.
        gamma: the learner's discount.
        terminal: bool [E], whether the episode ended for good; a truncated one has not.
    """
    return gamma * torch.where(terminal, 0.0, after) - before


def growth_potential(states: SlotStates, loss: Tensor, config: RewardConfig) -> Tensor:
    """Return the potential, float [E], that `config` asks for.

    Args:
        states: [E, K].
        loss: float [E], validation loss in nats, finite.
        config: the weights.
    """
    return config.stage_shaping * stage_potential(states) - config.loss_shaping * loss


def growth_reward(
    config: RewardConfig,
    *,
    score_before: Tensor,
    score_after: Tensor,
    potential_before: Tensor,
    potential_after: Tensor,
    terminal: Tensor,
) -> Tensor:
    """Return the reward of a step, (J' - J) / scale plus shaping, where J' is measured after the action had its effect.

    Args:
        config: scale and discount.
        score_before: float [E], from `growth_score`.
        score_after: float [E]; at the end of an episode of `final_accuracy`.
        potential_before: float [E], from `growth_potential`.
        potential_after: float [E].
        terminal: bool [E], whether the episode ended for good.
    """
    shaping = potential_shaping(potential_before, potential_after, gamma=config.gamma, terminal=terminal)
    return (score_after - score_before) / config.scale + shaping
