"""Growing by a timetable: which module goes into which slot, in which order, from when on and how fast.

A schedule looks at nothing but which operations are legal, so that one which was fixed beforehand and one which was
chosen for a single instance are played alike. Beside it stands the simplest rule that looks: a probe, which gives up a
seed that gets no gradient and remembers its slot. Knows nothing about how schedules are found or judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.experiment.evaluation import Act, GrowthSituation, Method
from sightline.tamiyo_policy.experiment.records import Episode
from sightline.tamiyo_policy.growth.topologies import Topology
from sightline.tamiyo_policy.hosts.operations import NOOP, AlphaTarget, Op, Style, Tempo
from sightline.tamiyo_policy.hosts.slots import Stage
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace

_PATIENCE = 2
"""Epochs without gradient after which a probe gives a seed up."""


@dataclass(frozen=True)
class Schedule:
    """A timetable; seeds of additive modules go to alpha 1 and stay."""

    plan: tuple[tuple[int, int], ...]
    """Slot and blueprint id, in the order of planting; each is planted as soon as that is legal, and passed over when
    the budget does not pay for it."""
    start: int = 0
    """Step of the episode before which nothing is planted."""
    tempo: Tempo = Tempo.FAST
    """Length of a seed's ramp."""

    def __post_init__(self) -> None:
        slots = [slot for slot, _ in self.plan]
        if len(set(slots)) < len(slots) or NOOP in {blueprint for _, blueprint in self.plan}:
            raise ValueError(f"a schedule plants one module into a slot at most: {self.plan!r}")


@dataclass(frozen=True)
class Probe:
    """What the probing rule is told."""

    rotation: tuple[int, ...]
    """Blueprint ids, tried in this order; the end of it is the end of planting."""
    keep_above: float = 0.0
    """Contribution in points that a held seed needs."""


def schedule_of(topology: Topology, *, last_first: bool = True, start: int = 0) -> Schedule:
    """Return the schedule that plants a topology.

    Args:
        topology: K blueprint ids, `NOOP` for none.
        last_first: whether the last slot comes first; else the first one.
        start: step before which nothing is planted.
    """
    plan = tuple((slot, blueprint) for slot, blueprint in enumerate(topology) if blueprint != NOOP)
    return Schedule(plan[::-1] if last_first else plan, start)


def draw_schedules(
    count: int, blueprints: Sequence[int], num_slots: int, starts: Sequence[int], generator: np.random.Generator
) -> list[Schedule]:
    """Return different schedules at random, the empty one first; any number of modules is as likely as another.

    Args:
        count: number of schedules; fewer where there are hardly so many.
        blueprints: ids that may be planted.
        num_slots: K.
        starts: steps to begin at.
        generator: source of the draws, which advances it.
    """
    found = {Schedule(()): None}
    for _ in range(100 * count):
        if len(found) == count:
            break
        size = int(generator.integers(1, num_slots, endpoint=True))
        slots = generator.permutation(num_slots)[:size].tolist()
        chosen = generator.choice(np.array(blueprints), size).tolist()
        start, tempo = int(generator.choice(np.array(starts))), Tempo(int(generator.integers(len(Tempo))))
        found[Schedule(tuple(zip(slots, chosen, strict=True)), start, tempo)] = None
    return list(found)


def scheduled(space: FactoredActionSpace, schedules: Sequence[Schedule]) -> Method:
    """Return a method that follows schedules.

    Args:
        space: the eight heads.
        schedules: one for all episodes, or as many as a stack has, one for each; the last serves what fills it up.
    """

    def begin(episodes: Sequence[Episode]) -> Act:
        rows = [schedules[min(row, len(schedules) - 1)] for row in range(len(episodes))]
        planted = [0] * len(rows)

        def act(situation: GrowthSituation) -> Tensor:
            masks, epoch = situation.observation.masks, situation.signals.epoch.tolist()
            choices: list[tuple[int, int, Tempo] | None] = []
            for row, schedule in enumerate(rows):
                choices.append(None)
                left = schedule.plan[planted[row] :] if epoch[row] >= schedule.start else ()
                paid = [step for step in left if bool(masks["blueprint"][row, step[1]])]
                if not paid:
                    continue
                planted[row] = schedule.plan.index(paid[0])
                slot, blueprint = paid[0]
                if _plantable(masks, row, slot, blueprint):
                    planted[row] += 1
                    choices[row] = slot, blueprint, schedule.tempo
            return _planting(space, choices)

        return act

    return begin


def probing(space: FactoredActionSpace, probes: Sequence[Probe]) -> Method:
    """Return the rule that tries, looks, and remembers which slots are of no use.

    It plants the next blueprint of its rotation into the last slot that is not known to be severed. A seed that got no
    gradient for `_PATIENCE` epochs is pruned and its slot avoided until every slot is; a seed that contributes less
    than it must when it is held is pruned, one that contributes enough is kept.

    Args:
        space: the eight heads.
        probes: one for all episodes, or as many as a stack has; see `scheduled`.
    """

    def begin(episodes: Sequence[Episode]) -> Act:
        rows = [probes[min(row, len(probes) - 1)] for row in range(len(episodes))]
        least = torch.tensor([[probe.keep_above] for probe in rows])
        tried = [0] * len(episodes)
        useless: list[set[int]] = [set() for _ in episodes]

        def act(situation: GrowthSituation) -> Tensor:
            slots, masks = situation.slots, situation.observation.masks
            stuck = slots.in_stage(Stage.TRAINING) & slots.vanishing & (slots.epochs_in_stage >= _PATIENCE)
            idle = slots.in_stage(Stage.HOLDING) & (slots.contribution_age >= 0) & (slots.contribution < least)
            removable = (stuck | idle) & masks["slot_by_op"][:, Op.PRUNE]
            choices: list[tuple[int, int, Tempo] | None] = []
            pruned = torch.full((len(tried),), -1)
            for row, avoided in enumerate(useless):
                choices.append(None)
                for slot in removable[row].nonzero()[:1, 0].tolist():
                    pruned[row] = slot
                    if bool(stuck[row, slot]):
                        avoided.add(slot)
                        tried[row] -= 1  # the module itself was not put to the test
                rotation = rows[row].rotation
                if pruned[row] >= 0 or tried[row] >= len(rotation):
                    continue
                if len(avoided) == slots.stage.shape[1]:
                    avoided.clear()
                for slot in reversed(range(slots.stage.shape[1])):
                    if slot not in avoided and _plantable(masks, row, slot, rotation[tried[row]]):
                        choices[row] = slot, rotation[tried[row]], Tempo.FAST
                        tried[row] += 1
                        break
            return _pruning(space, _planting(space, choices), pruned)

        return act

    return begin


def _plantable(masks: Mapping[str, Tensor], row: int, slot: int, blueprint: int) -> bool:
    return bool(masks["slot_by_op"][row, Op.GERMINATE, slot]) and bool(masks["blueprint"][row, blueprint])


def _planting(space: FactoredActionSpace, choices: Sequence[tuple[int, int, Tempo] | None]) -> Tensor:
    """Return actions int64 [E, 8]: germinate what was chosen, slot, blueprint and tempo, or wait."""
    heads = {name: column.clone() for name, column in space.by_name(space.placeholder.repeat(len(choices), 1)).items()}
    for row, choice in enumerate(choices):
        if choice is not None:
            heads["op"][row] = Op.GERMINATE
            heads["slot"][row], heads["blueprint"][row], heads["tempo"][row] = choice
            heads["alpha_target"][row], heads["style"][row] = AlphaTarget.FULL, Style.LINEAR_ADD
    return space.columns(heads)


def _pruning(space: FactoredActionSpace, actions: Tensor, pruned: Tensor) -> Tensor:
    """Return the actions with a prune where `pruned` int64 [E] names a slot, -1 for none."""
    heads, where = space.by_name(actions), pruned >= 0
    prune = space.by_name(space.placeholder.expand(len(actions), -1)) | {
        "op": torch.full_like(pruned, int(Op.PRUNE)),
        "slot": pruned.clamp(min=0),
    }
    return space.columns({name: torch.where(where, prune[name], heads[name]) for name in heads})
