"""The slots of many environments as tensors: stages, legal transitions, and everything a slot remembers.

Letters: `E` environments, `K` slots of each. A slot is empty or holds one seed, a small module that grows into the
host network. The module holds data only; what changes it is in `lifecycle`. It does not know hosts, blueprints' sizes
or rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor


class Stage(IntEnum):
    """Where a slot's seed is in its life; 5 is reserved. An empty slot is DORMANT."""

    UNKNOWN = 0
    DORMANT = 1
    GERMINATED = 2
    TRAINING = 3
    BLENDING = 4
    HOLDING = 6
    FOSSILIZED = 7
    PRUNED = 8
    EMBARGOED = 9
    RESETTING = 10


class AlphaMode(IntEnum):
    """What a slot's alpha is doing: standing still, or ramping up or down."""

    HOLD = 0
    UP = 1
    DOWN = 2


class Operator(IntEnum):
    """How a seed's output is blended with the host's: all are the identity at alpha 0."""

    ADD = 0
    MULTIPLY = 1
    GATE = 2


LEGAL_TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.UNKNOWN: frozenset({Stage.DORMANT}),
    Stage.DORMANT: frozenset({Stage.GERMINATED}),
    Stage.GERMINATED: frozenset({Stage.TRAINING, Stage.PRUNED}),
    Stage.TRAINING: frozenset({Stage.BLENDING, Stage.PRUNED}),
    Stage.BLENDING: frozenset({Stage.HOLDING, Stage.PRUNED}),
    Stage.HOLDING: frozenset({Stage.FOSSILIZED, Stage.BLENDING, Stage.PRUNED}),
    Stage.FOSSILIZED: frozenset(),
    Stage.PRUNED: frozenset({Stage.EMBARGOED}),
    Stage.EMBARGOED: frozenset({Stage.RESETTING}),
    Stage.RESETTING: frozenset({Stage.DORMANT}),
}
"""The stages that may follow each stage. HOLDING to BLENDING is a partial retarget or a prune that ramps down."""

NUM_STAGE_CODES = max(Stage) + 1


@dataclass(frozen=True, slots=True)
class SlotStates:
    """The slots of E environments. Every field is a tensor [E, K]; an empty slot holds the values of `empty`."""

    stage: Tensor
    """int64, a `Stage`."""
    blueprint: Tensor
    """int64, what the slot holds; -1 where there is no module (empty or cooling down)."""
    age: Tensor
    """int64, epochs since germination."""
    epochs_in_stage: Tensor
    """int64, epochs since the stage was entered."""
    alpha: Tensor
    """float32 in [0, 1], the share of the seed in the forward pass."""
    alpha_start: Tensor
    """float32, where the current ramp began."""
    alpha_target: Tensor
    """float32, where the current ramp ends; before BLENDING, where the first one will."""
    alpha_mode: Tensor
    """int64, an `AlphaMode`."""
    alpha_steps_total: Tensor
    """int64, epochs of the current ramp."""
    alpha_steps_done: Tensor
    """int64, epochs of it that are over."""
    alpha_velocity: Tensor
    """float32, change of alpha in the last epoch."""
    curve: Tensor
    """int64, the shape of the ramp (`actions.AlphaCurve`)."""
    operator: Tensor
    """int64, an `Operator`."""
    tempo_steps: Tensor
    """int64, epochs of the ramp that ADVANCE to BLENDING begins."""
    prune_pending: Tensor
    """bool, the ramp goes to 0 and the seed is removed there; its parameters are frozen."""
    accuracy_at_germination: Tensor
    """float32, the host's accuracy in percent when the seed was put in."""
    gain_at_germination: Tensor
    """float32, the gain of all other seeds then, in points."""
    progress: Tensor
    """float32, accuracy minus `accuracy_at_germination`, in points."""
    clean_progress: Tensor
    """float32, gain of all seeds minus `gain_at_germination`, in points: free of the host's drift."""
    contribution: Tensor
    """float32, accuracy minus accuracy without this seed, in points; 0 until measured."""
    contribution_age: Tensor
    """int64, epochs since `contribution` was measured; -1 for never."""
    velocity: Tensor
    """float32, moving average of the change of `contribution`, in points per epoch."""
    interaction: Tensor
    """float32, sum of the seed's pairwise interactions, in points."""
    gradient_norm: Tensor
    """float32, of the seed's parameters."""
    gradient_ratio: Tensor
    """float32, moving average of its gradient against the host's; see `gradient_ratio`."""
    health: Tensor
    """float32 in [0, 1], of its gradient; -1 for never measured."""
    previous_health: Tensor
    """float32, the reading before; -1 for never."""
    vanishing: Tensor
    """bool, the gradient is too small to learn from."""
    exploding: Tensor
    """bool, the gradient is too large or not finite."""

    _INTEGERS: ClassVar = frozenset(
        {
            "stage",
            "blueprint",
            "age",
            "epochs_in_stage",
            "alpha_mode",
            "alpha_steps_total",
            "alpha_steps_done",
            "curve",
            "operator",
            "tempo_steps",
            "contribution_age",
        }
    )
    _FLAGS: ClassVar = frozenset({"prune_pending", "vanishing", "exploding"})
    # A slot that was never measured must not look like a healthy one, so "never" has a value of its own.
    _EMPTY: ClassVar = {
        "stage": Stage.DORMANT,
        "blueprint": -1,
        "contribution_age": -1,
        "health": -1.0,
        "previous_health": -1.0,
    }

    @classmethod
    def empty(cls, num_environments: int, num_slots: int, *, device: torch.device | str = "cpu") -> SlotStates:
        """Return the states of E environments with K empty slots each."""

        def fill(name: str) -> Tensor:
            dtype = torch.int64 if name in cls._INTEGERS else torch.bool if name in cls._FLAGS else torch.float32
            return torch.full((num_environments, num_slots), cls._EMPTY.get(name, 0), dtype=dtype, device=device)

        return cls(**{field.name: fill(field.name) for field in fields(cls)})

    def update(self, at: Tensor, **values: Tensor | float) -> SlotStates:
        """Return the states with other values in some slots.

        Args:
            at: bool [E, K], where.
            values: field name to a number or a tensor that broadcasts to [E, K].
        """
        if not bool(at.any()):  # most operations concern no slot of most steps
            return self

        def merge(name: str, value: Tensor | float) -> Tensor:
            field = getattr(self, name)
            return torch.where(at, torch.as_tensor(value, dtype=field.dtype, device=field.device), field)

        return replace(self, **{name: merge(name, value) for name, value in values.items()})

    def clear(self, at: Tensor) -> SlotStates:
        """Return the states with nothing in some slots: their stage is DORMANT.

        Args:
            at: bool [E, K], where.
        """
        return self.select(~at, SlotStates.empty(*self.stage.shape, device=self.stage.device))

    def select(self, keep: Tensor, other: SlotStates) -> SlotStates:
        """Return these states where `keep`, the other ones elsewhere.

        Args:
            keep: bool [E, K] or [E, 1].
            other: states of the same shape.
        """
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return SlotStates(**{name: torch.where(keep, mine, theirs) for name, mine, theirs in pairs})

    def enter(self, at: Tensor, stage: Stage) -> SlotStates:
        """Return the states with some slots in another stage, 0 epochs old there.

        Args:
            at: bool [E, K], where.
            stage: the stage to enter.

        Raises:
            ValueError: the transition is not in `LEGAL_TRANSITIONS`.
        """
        if not bool(at.any()):
            return self
        legal = _ENTERABLE[stage].to(at.device)[self.stage]
        if bool((at & ~legal).any()):
            environment, slot = (at & ~legal).nonzero()[0].tolist()
            left = Stage(int(self.stage[environment, slot]))
            raise ValueError(
                f"environment {environment}, slot {slot}: {left.name} cannot become {stage.name}; "
                f"it can become {sorted(after.name for after in LEGAL_TRANSITIONS[left]) or 'nothing'}"
            )
        return self.update(at, stage=stage, epochs_in_stage=0)

    def in_stage(self, *stages: Stage) -> Tensor:
        """Return bool [E, K]: whether a slot is in one of the stages."""
        return _codes(stages).to(self.stage.device)[self.stage]

    @property
    def occupied(self) -> Tensor:
        """Bool [E, K]: whether the slot holds a module, from GERMINATED to FOSSILIZED."""
        return self.blueprint >= 0

    @property
    def in_forward(self) -> Tensor:
        """Bool [E, K]: whether the module is in the forward path (in TRAINING without effect on the output)."""
        return self.in_stage(Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of every field by its name."""
        return {field.name: getattr(self, field.name).clone() for field in fields(self)}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> SlotStates:
        """Return the states that `state_dict` was taken from.

        Raises:
            ValueError: a field is missing, unknown or of another shape than the rest.
        """
        names = {field.name for field in fields(cls)}
        if names != set(tensors):
            raise ValueError(f"slot states have other fields than expected: {sorted(names ^ set(tensors))}")
        shapes = {tuple(tensor.shape) for tensor in tensors.values()}
        if len(shapes) != 1:
            raise ValueError(f"all fields of slot states have one shape [E, K], got {sorted(shapes)}")
        return cls(**{name: tensors[name].clone() for name in names})


@cache
def _codes(stages: tuple[Stage, ...]) -> Tensor:
    """Return bool [NUM_STAGE_CODES]: whether a code is that of one of the stages."""
    return torch.tensor([code in stages for code in range(NUM_STAGE_CODES)])


_ENTERABLE = {
    stage: _codes(tuple(left for left, after in LEGAL_TRANSITIONS.items() if stage in after)) for stage in Stage
}
