"""The SHAPED reward: credit for the seed an action names, warnings, rent and action terms, in points of accuracy.

A dense alternative to `rewards` with many terms, kept to compare against. It departs from its model in two places:
the potential is summed over all slots and is 0 at the end, so that no cycle of operations earns anything; and
progress is measured free of the host's drift, unless asked otherwise. Only the attribution changes sign for PRUNE;
penalties stay penalties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import ShapedRewardConfig
from sightline.tamiyo_policy.growth.rewards import effective_parameters, potential_shaping, stage_potential
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

_RANSOM_GAIN = -0.2  # a seed that the host cannot do without, in a host that all seeds together have made worse
_BLENDED = (Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED)


@dataclass(frozen=True, slots=True)
class ShapedStep:
    """One step of E environments as the SHAPED reward sees it."""

    before: SlotStates
    """Slots that the action was chosen in."""
    after: SlotStates
    """Slots after the operation, the epoch and its measurements."""
    slot: Tensor
    """int64 [E], the slot that the action names."""
    wanted_op: Tensor
    """int64 [E], the operation chosen."""
    effective_op: Tensor
    """int64 [E], the operation executed."""
    epoch: Tensor
    """int64 [E], steps of the episode before the action."""
    accuracy: Tensor
    """float [E], after the step, in percent."""
    gain_before: Tensor
    """float [E], accuracy minus accuracy without any seed before the action, in points."""
    gain_after: Tensor
    """float [E], the same after the step."""
    parameters: Tensor
    """[E, K], of the module that was in a slot before the step or is in it after."""
    host_parameters: Tensor
    """float [E], parameters of the host alone, or what rent is measured by."""
    terminal: Tensor
    """bool [E], whether the episode ended for good."""


class ShapedReward(NamedTuple):
    """The terms of the reward, each float [E]; costs are negative."""

    attribution: Tensor
    """Credit of the named seed."""
    warnings: Tensor
    """What its state warns of."""
    shaping: Tensor
    """Change of the potential of all slots."""
    synergy: Tensor
    """Gain of the named seed and the others together."""
    rent: Tensor
    """Cost of the modules' parameters."""
    shock: Tensor
    """Cost of sudden changes of alpha."""
    occupancy: Tensor
    """Cost of filled slots."""
    action: Tensor
    """Worth of the operation itself."""
    final_accuracy: Tensor
    """Worth of the accuracy at the end of the episode."""

    @property
    def total(self) -> Tensor:
        """The reward, float [E], not yet scaled or clipped."""
        return torch.stack(list(self)).sum(0)


class _Judged(NamedTuple):
    """The named seed of each environment [E]: as it was where the operation ends its measurement, else as it is."""

    stage: Tensor
    known: Tensor
    contribution: Tensor
    progress: Tensor
    interaction: Tensor
    gain: Tensor
    epochs_in_stage: Tensor
    age: Tensor
    occupied: Tensor


def shaped_reward(step: ShapedStep, config: ShapedRewardConfig) -> ShapedReward:
    """Return the SHAPED reward of a step.

    PRUNE and FOSSILIZE are judged by what was measured before them, everything else by what followed.
    """
    seed = _judge(step, config)
    attribution = _attribution(step, seed, config)
    potentials = stage_potential(step.before), stage_potential(step.after)
    shaping = 0.3 * potential_shaping(*potentials, gamma=config.gamma, terminal=step.terminal)
    blended = step.after.in_stage(*_BLENDED).sum(1)
    grown = effective_parameters(step.after, step.parameters) + 0.0039 * step.host_parameters * blended
    rent = (0.5 * torch.log1p(grown / step.host_parameters.clamp(min=200.0))).clamp(max=1.5)
    jump = ((step.after.alpha - step.before.alpha) ** 2 * step.parameters).sum(1) / step.host_parameters
    fossils = step.after.in_stage(Stage.FOSSILIZED).sum(1)
    return ShapedReward(
        attribution=attribution,
        warnings=_warnings(step, seed, attribution),
        shaping=shaping,
        synergy=0.1 * torch.tanh(0.5 * seed.interaction).clamp(min=0.0),
        rent=-rent,
        shock=-(0.1958 * jump).clamp(max=1.0),
        occupancy=-(0.01 * (step.after.occupied.sum(1) - 1).clamp(min=0) + 0.002 * fossils),
        action=_action_term(step, seed, config),
        final_accuracy=torch.where(step.terminal, 0.05 * step.accuracy, 0.0),
    )


def _judge(step: ShapedStep, config: ShapedRewardConfig) -> _Judged:
    index = step.slot[:, None]

    def of(states: SlotStates, gain: Tensor) -> _Judged:
        progress = states.clean_progress if config.clean_progress else states.progress
        fields = states.stage, states.contribution_age >= 0, states.contribution, progress, states.interaction
        ages = states.epochs_in_stage, states.age, states.occupied
        return _Judged(
            *(field.gather(1, index)[:, 0] for field in fields), gain, *(a.gather(1, index)[:, 0] for a in ages)
        )

    ended = (step.effective_op == Op.PRUNE) | (step.effective_op == Op.FOSSILIZE)
    pairs = zip(of(step.before, step.gain_before), of(step.after, step.gain_after), strict=True)
    return _Judged(*(torch.where(ended, before, after) for before, after in pairs))


def _attribution(step: ShapedStep, seed: _Judged, config: ShapedRewardConfig) -> Tensor:
    c, p = seed.contribution, seed.progress
    harmonic = 2 * p * c / (p + c).clamp(min=1e-12)
    credit = torch.where(c < 0, c, torch.where(p <= 0, 0.0, torch.where(c >= p, harmonic, c)))
    unmeasured = torch.where(_in(seed.stage, *_BLENDED), 0.3 * p.clamp(min=0.0), 0.0)
    credit = torch.where(seed.known, credit, unmeasured)
    credit = credit * torch.where(seed.gain < 0, torch.sigmoid(3 * seed.gain), 1.0)
    started = (step.epoch - seed.age).clamp(min=0)
    credit = credit * (0.4 + 0.6 * (started / config.early_epochs).clamp(max=1.0))
    credit = torch.where(step.effective_op == Op.PRUNE, -credit, credit)
    void = ~seed.occupied | (seed.stage == Stage.FOSSILIZED)
    void |= (step.effective_op == Op.FOSSILIZE) & (seed.gain < 0)
    return torch.where(void, 0.0, credit)


def _warnings(step: ShapedStep, seed: _Judged, attribution: Tensor) -> Tensor:
    """Return costs between 0 and 0.7 in sum, never a gain, whatever the operation."""
    c, u = seed.contribution, seed.gain
    excess = (0.1 * (c / u.clamp(min=0.1) - 5) / 5).clamp(min=0.0, max=0.3)
    ratio = torch.where(u > 0.1, excess, 0.3 * (c / 10).clamp(max=1.0))
    ratio = torch.where(seed.known & (c > 1), ratio, 0.0)
    harmful = 0.1 + (0.05 * seed.epochs_in_stage).clamp(max=0.3)
    harmful = torch.where((seed.stage == Stage.BLENDING) & (u < 0), harmful, 0.0)
    undecided = (0.1 + 0.05 * (seed.epochs_in_stage - 2)).clamp(max=0.3)
    waits = ~_in(step.effective_op, Op.FOSSILIZE, Op.PRUNE) & (seed.stage == Stage.HOLDING)
    undecided = torch.where(waits & (seed.epochs_in_stage >= 2) & (attribution > 0), undecided, 0.0)
    return -torch.where(seed.occupied, ratio + harmful + undecided, 0.0)


def _action_term(step: ShapedStep, seed: _Judged, config: ShapedRewardConfig) -> Tensor:
    occupied_before = step.before.occupied.gather(1, step.slot[:, None])[:, 0]
    blocked = torch.where((step.wanted_op == Op.GERMINATE) & occupied_before, -0.3, 0.0)
    terms = {
        Op.GERMINATE: torch.full_like(seed.gain, -0.15),
        Op.SET_ALPHA_TARGET: torch.full_like(seed.gain, -0.005),
        Op.FOSSILIZE: _fossilize_term(seed, config) - 0.01,
        Op.PRUNE: _prune_term(seed, config) - 0.005,
    }
    total = blocked
    for op, term in terms.items():
        total = total + torch.where(step.effective_op == op, term, 0.0)
    # A fossilisation that the rules refused was wanted all the same.
    refused = (step.wanted_op == Op.FOSSILIZE) & (step.effective_op != Op.FOSSILIZE)
    return total + torch.where(refused, -1.01, 0.0)


def _fossilize_term(seed: _Judged, config: ShapedRewardConfig) -> Tensor:
    earned = (seed.epochs_in_stage / config.full_holding_epochs).clamp(max=1.0)
    bonus = (0.5 + 0.1 * seed.contribution + 3 * math.tanh(1 / 3)) * earned
    ransom = (seed.contribution > 0.1) & (seed.gain < _RANSOM_GAIN)
    harm = -(0.5 + (0.2 * seed.gain.abs()).clamp(max=1.0) + 0.3 * ransom.float())
    return torch.where(seed.gain < 0, harm, torch.where(seed.known & (seed.contribution >= 1), bonus, -0.2))


def _prune_term(seed: _Judged, config: ShapedRewardConfig) -> Tensor:
    c = seed.contribution
    verdict = torch.where(c < -0.5, 0.15, torch.where(c < 0, 0.1, -(0.3 + 0.05 * c).clamp(max=0.9)))
    verdict = torch.where(seed.known, verdict, 0.0)
    return verdict - 0.3 * (config.min_prune_age - seed.age).clamp(min=0)


def _in(value: Tensor, *codes: int) -> Tensor:
    return torch.stack([value == code for code in codes]).any(0)
