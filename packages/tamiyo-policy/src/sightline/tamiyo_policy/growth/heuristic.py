"""Policies that need no training: a careful gardener with a rotation of blueprints, and a choice at random.

Both give actions int64 [E, heads] for E environments at once. The heuristic sees what the learner sees and the gates,
and remembers what it pruned; neither knows the reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import HeuristicConfig
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.hosts.config import LifecycleConfig
from sightline.tamiyo_policy.hosts.lifecycle import open_gates
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace


@dataclass(frozen=True, slots=True)
class HeuristicMemory:
    """What the heuristic remembers of E environments."""

    position: Tensor
    """int64 [E], where in the rotation the next seed is looked for."""
    embargo: Tensor
    """int64 [E], epochs until a seed may be germinated again."""
    penalties: Tensor
    """float32 [E, rotation], of each blueprint in the rotation."""

    @classmethod
    def start(
        cls, num_environments: int, config: HeuristicConfig, *, device: torch.device | str = "cpu"
    ) -> HeuristicMemory:
        """Return the memory at the beginning of an episode."""
        counts = torch.zeros(num_environments, dtype=torch.int64, device=device)
        return cls(counts, counts, torch.zeros(num_environments, len(config.rotation), device=device))


def heuristic_actions(
    memory: HeuristicMemory,
    states: SlotStates,
    signals: HostSignals,
    masks: Mapping[str, Tensor],
    space: FactoredActionSpace,
    *,
    config: HeuristicConfig,
    lifecycle: LifecycleConfig,
) -> tuple[Tensor, HeuristicMemory]:
    """Return one legal action in every environment.

    In this order: a held seed whose contribution is known becomes permanent or is pruned; a seed that hurts is pruned;
    a seed whose gate is open advances; and when the host is stable and on a plateau, the next blueprint of the rotation
    is germinated. Otherwise it waits. A masked choice is never taken.

    Args:
        memory: memory of the previous step.
        states: [E, K].
        signals: [E].
        masks: legal choices, from `legality_masks`.
        space: the eight heads.
        config: the thresholds.
        lifecycle: the rules in force.

    Returns:
        int64 [E, 8], and the memory for the next step.
    """
    wanted = _wanted_slots(memory, states, signals, config, lifecycle)
    rank, next_blueprint = _next_in_rotation(memory, masks["blueprint"], config)
    wanted[Op.GERMINATE] &= (next_blueprint >= 0)[:, None]
    op = torch.full_like(memory.position, int(Op.WAIT))
    slot = torch.zeros_like(op)
    for kind, where in reversed(wanted.items()):
        possible = where & masks["slot_by_op"][:, kind]
        chosen = possible.any(1) & masks["op"][:, kind]
        op = torch.where(chosen, int(kind), op)
        slot = torch.where(chosen, possible.int().argmax(1), slot)
    actions = space.placeholder.to(op.device).expand(len(op), -1).clone()
    column = {name: index for index, name in enumerate(space.names)}
    actions[:, column["op"]], actions[:, column["slot"]] = op, slot
    germinated, pruned = op == Op.GERMINATE, op == Op.PRUNE
    actions[:, column["blueprint"]] = torch.where(germinated, next_blueprint, actions[:, column["blueprint"]])
    blueprint = states.blueprint.gather(1, slot[:, None])
    blamed = pruned[:, None] & (blueprint == torch.tensor(config.rotation, device=op.device))
    return actions, HeuristicMemory(
        position=torch.where(germinated, (rank + 1) % len(config.rotation), memory.position),
        embargo=torch.where(pruned, config.embargo_epochs, (memory.embargo - 1).clamp(min=0)),
        penalties=memory.penalties * config.penalty_decay + config.penalty * blamed,
    )


def random_legal_actions(masks: Mapping[str, Tensor], space: FactoredActionSpace, generator: torch.Generator) -> Tensor:
    """Return actions int64 [E, 8]: the operation uniform over the legal ones, then every head that matters likewise.

    Args:
        masks: legal choices, from `legality_masks`.
        space: the eight heads.
        generator: source of the choices, on the masks' device.
    """
    op = _uniform(masks["op"], generator)
    rows = masks["slot_by_op"][torch.arange(len(op), device=op.device), op]
    heads = {"op": op, "slot": _uniform(rows, generator)}
    heads |= {name: _uniform(masks[name], generator) for name in space.names if name not in heads}
    relevant = space.relevance.to(op.device)[op]
    return torch.where(relevant, space.columns(heads), space.placeholder.to(op.device))


def _uniform(mask: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(mask.float(), 1, generator=generator)[:, 0]


def _wanted_slots(
    memory: HeuristicMemory,
    states: SlotStates,
    signals: HostSignals,
    config: HeuristicConfig,
    lifecycle: LifecycleConfig,
) -> dict[Op, Tensor]:
    """Return bool [E, K] by operation, the most urgent first; not all of them need be legal."""
    known = states.contribution_age >= 0
    held = states.in_stage(Stage.HOLDING) & known
    worthy = states.contribution > config.fossilize_above
    hurting = known & (states.contribution < config.prune_below) & (states.age >= config.prune_after)
    gates = open_gates(states, lifecycle)
    plateau = (signals.steady_epochs >= config.plateau_epochs) & signals.stabilized
    ready = plateau & (signals.epoch >= config.min_epoch) & (memory.embargo == 0)
    return {
        Op.FOSSILIZE: held & worthy & gates,
        Op.PRUNE: (held & ~worthy) | (hurting & ~states.in_stage(Stage.FOSSILIZED)),
        Op.ADVANCE: gates & ~states.in_stage(Stage.HOLDING),
        Op.GERMINATE: states.in_stage(Stage.DORMANT) & ready[:, None],
    }


def _next_in_rotation(memory: HeuristicMemory, selectable: Tensor, config: HeuristicConfig) -> tuple[Tensor, Tensor]:
    """Return rank and id of the first blueprint in the rotation that is selectable and not passed over; -1 if none."""
    length = len(config.rotation)
    rotation = torch.tensor(config.rotation, device=selectable.device)
    ranks = (memory.position[:, None] + torch.arange(length, device=selectable.device)) % length
    free = (memory.penalties < config.skip_penalty) & selectable[:, rotation]
    usable = free.gather(1, ranks)
    rank = ranks.gather(1, usable.int().argmax(1, keepdim=True))[:, 0]
    return rank, torch.where(usable.any(1), rotation[rank], -1)
