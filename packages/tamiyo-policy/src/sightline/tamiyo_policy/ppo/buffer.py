"""What a rollout leaves behind: one pre-allocated tensor per field, [environments, steps, ...].

A row holds the steps of one environment in order and may hold several episodes; the recurrent state is kept for the
first step only, as every later one follows from it. Knows nothing about networks, losses or environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.recurrence import Hidden


@dataclass(frozen=True, kw_only=True)
class RolloutStep:
    """One step of all E environments."""

    states: Tensor
    """[E, D] float, as the network saw them."""
    actions: Tensor
    """[E, H] int64, in the order of the action space's heads."""
    log_probs: Tensor
    """[E, H] float, of the actions, 0 for heads that did not matter."""
    rewards: Tensor
    """[E] float."""
    terminated: Tensor
    """[E] bool, the step ended its episode for good."""
    truncated: Tensor
    """[E] bool, the step ended its episode because of a limit."""
    episode_starts: Tensor
    """[E] bool, the step was the first of its episode."""
    bootstrap_values: Tensor | None = None
    """[E] float or None, the critic's output after the step; read where truncated and in the last column of a row."""
    masks: Mapping[str, Tensor] | None = None
    """Legal actions by the names in `mask_shapes` of the action space, each [E, ...] bool (others are left out), or
    None when all are legal."""
    categories: Tensor | None = None
    """[E, K] int64 or None."""
    effective_ops: Tensor | None = None
    """[E] int64, the operation that was carried out, or None when it is always the chosen one."""
    valid: Tensor | None = None
    """[E] bool, False where the environment ignored the action and nothing is to be learned; None for all True."""
    slot_targets: Tensor | None = None
    """[E, K] float or None, measured slot_targets of the slots, targets of the auxiliary head."""
    slot_targets_known: Tensor | None = None
    """[E, K] bool or None, which slot_targets were measured at this step."""


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Whole rows of a rollout, the fields as in `RolloutStep` with a time axis behind the first: [E, T, ...]."""

    states: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    episode_starts: Tensor
    bootstrap_values: Tensor
    valid: Tensor
    relevance: Tensor
    """[E, T, H] bool, heads that the executed operation used."""
    learnable: Tensor
    """[E, T] bool, valid steps at which there was a choice."""
    masks: dict[str, Tensor] | None
    categories: Tensor | None
    slot_targets: Tensor | None
    slot_targets_known: Tensor | None
    initial_hidden: Hidden
    """State of the network before the first step, [1, E, hidden] each."""

    def rows(self, environments: Tensor | slice) -> Sequences:
        """Return the rows of some environments: copies for numbers [B] int64, views for a slice."""
        chosen: dict[str, object] = {}
        for name, value in vars(self).items():
            if name == "masks" and value is not None:
                chosen[name] = {head: mask[environments] for head, mask in value.items()}
            elif name == "initial_hidden":
                chosen[name] = (value[0][:, environments], value[1][:, environments])
            else:
                chosen[name] = None if value is None else value[environments]
        return replace(self, **chosen)


_REQUIRED = ("states", "actions", "log_probs", "rewards", "terminated", "truncated", "episode_starts")
_DEFAULTS = {"valid": True, "bootstrap_values": 0.0}
_OPTIONAL = ("categories", "slot_targets", "slot_targets_known")


class RolloutBuffer:
    """Steps of E environments, written column by column and read as whole rows.

    Optional fields exist when the first step of a rollout carries them; every later step must then carry them too.

    Args:
        num_environments: E.
        num_steps: T, how many steps a rollout has.
        state_dim: D, features of an observation.
        action_space: heads, their relevance by operation, and which head is the operation.
        device: device of the tensors.
    """

    def __init__(
        self,
        num_environments: int,
        num_steps: int,
        state_dim: int,
        action_space: FactoredActionSpace,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_environments = num_environments
        self.num_steps = num_steps
        self.action_space = action_space
        self.device = torch.device(device)
        heads = len(action_space.sizes)
        size = (num_environments, num_steps)
        floats = {"rewards": (), "bootstrap_values": (), "states": (state_dim,), "log_probs": (heads,)}
        self._fields = {name: torch.zeros(*size, *shape, device=self.device) for name, shape in floats.items()}
        for name in ("terminated", "truncated", "episode_starts", "valid"):
            self._fields[name] = torch.zeros(size, dtype=torch.bool, device=self.device)
        self._fields["actions"] = torch.zeros(*size, heads, dtype=torch.int64, device=self.device)
        self._fields["effective_ops"] = torch.zeros(size, dtype=torch.int64, device=self.device)
        self._masks = {
            name: torch.zeros(*size, *shape, dtype=torch.bool, device=self.device)
            for name, shape in action_space.mask_shapes.items()
        }
        self._columns = {name: field.unbind(1) for name, field in self._fields.items()}
        self._mask_columns = {name: mask.unbind(1) for name, mask in self._masks.items()}
        self._present: frozenset[str] = frozenset()
        self._initial_hidden: Hidden | None = None
        self._position = 0

    def __len__(self) -> int:
        """Return steps written since `start`."""
        return self._position

    def start(self, hidden: Hidden) -> None:
        """Begin a rollout; what was in the buffer is overwritten.

        Args:
            hidden: state of the network before the first step, [1, E, hidden] each; it is copied.
        """
        self._initial_hidden = (hidden[0].detach().clone(), hidden[1].detach().clone())
        self._position = 0
        self._present = frozenset()

    def add(self, step: RolloutStep) -> None:
        """Write the next column.

        Raises:
            ValueError: the buffer is full, or the step has other optional fields than the first one.
            KeyError: masks are given, and one that the action space names is missing.
        """
        if self._position == self.num_steps:
            raise ValueError(f"a rollout of {self.num_steps} steps is full: read it, then call start()")
        self._check_optional(step)
        columns, at = self._columns, self._position
        for name in _REQUIRED:
            columns[name][at].copy_(getattr(step, name))
        for name, otherwise in _DEFAULTS.items():
            value = getattr(step, name)
            columns[name][at].fill_(otherwise) if value is None else columns[name][at].copy_(value)
        op_head = self.action_space.op_head
        if op_head is not None:
            executed = step.actions[:, op_head] if step.effective_ops is None else step.effective_ops
            columns["effective_ops"][at].copy_(executed)
        for name in _OPTIONAL:
            if (value := getattr(step, name)) is not None:
                columns[name][at].copy_(value)
        if step.masks is not None:
            for name, stored in self._mask_columns.items():
                stored[at].copy_(step.masks[name])
        self._position += 1

    def _check_optional(self, step: RolloutStep) -> None:
        names = frozenset(name for name in (*_OPTIONAL, "masks") if getattr(step, name) is not None)
        if self._position == 0:
            self._present = names
            for name in names - {"masks"}:
                value = getattr(step, name)
                shape = (self.num_environments, self.num_steps, *value.shape[1:])
                if name not in self._fields or self._fields[name].shape != shape:
                    # Also in a rollout's inference mode the buffer stays one of ordinary, writable tensors.
                    with torch.inference_mode(mode=False):
                        self._fields[name] = torch.zeros(shape, dtype=value.dtype, device=self.device)
                        self._columns[name] = self._fields[name].unbind(1)
        elif names != self._present:
            raise ValueError(
                f"step {self._position} has the optional fields {sorted(names)}, the first had {sorted(self._present)}"
            )

    def set_bootstrap_values(self, at: int, values: Tensor, where: Tensor) -> None:
        """Write the critic's outputs after step `at`, where they become known only later.

        Args:
            at: the column.
            values: [E] float.
            where: [E] bool, the environments to write.
        """
        column = self._fields["bootstrap_values"][:, at]
        column.copy_(torch.where(where, values, column))

    def mark_rollback(self, environment: int, penalty: float) -> bool:
        """Blame the last executed step of an environment for a rollback and take its episode's earlier rewards away.

        The step becomes terminal with `penalty` as its reward. The action that was chosen but not executed is not to be
        added: its column has `valid` False for the environment, and the next valid step starts an episode.

        Args:
            environment: which row.
            penalty: the reward, already scaled and clipped as rewards are.

        Returns:
            Whether there was a step to blame: False when the episode has none in this rollout.
        """
        valid = self._fields["valid"][environment, : self._position]
        ended = self._fields["terminated"][environment] | self._fields["truncated"][environment]
        steps = valid.nonzero().flatten()
        if len(steps) == 0 or bool(ended[steps[-1]]):
            return False
        last = int(steps[-1])
        starts = self._fields["episode_starts"][environment, : last + 1].nonzero().flatten()
        first = int(starts[-1]) if len(starts) else 0
        self._fields["rewards"][environment, first:last] = 0.0
        self._fields["rewards"][environment, last] = penalty
        self._fields["terminated"][environment, last] = True
        return True

    def sequences(self) -> Sequences:
        """Return all rows, once the rollout is full; tensors are views of the buffer.

        Raises:
            ValueError: steps are missing, an episode goes on after it ended, or a row has a hole within an episode.
        """
        if self._initial_hidden is None or self._position != self.num_steps:
            raise ValueError(f"the rollout has {self._position} of {self.num_steps} steps: add the others first")
        self._check_episodes()
        fields = self._fields
        relevance = self._relevance()
        learnable = fields["valid"] & self._has_choice(relevance)
        optional = {name: fields[name] if name in self._present else None for name in _OPTIONAL}
        required = {name: value for name, value in fields.items() if name not in (*_OPTIONAL, "effective_ops")}
        return Sequences(
            **required,
            **optional,
            relevance=relevance,
            learnable=learnable,
            masks=dict(self._masks) if "masks" in self._present else None,
            initial_hidden=self._initial_hidden,
        )

    def _check_episodes(self) -> None:
        """Require that a step which is not the first of its episode follows a valid one that did not end it."""
        fields = self._fields
        open_before = fields["valid"] & ~(fields["terminated"] | fields["truncated"])
        continues = fields["valid"][:, 1:] & ~fields["episode_starts"][:, 1:]
        wrong = (continues & ~open_before[:, :-1]) | (~fields["valid"][:, 1:] & open_before[:, :-1])
        if bool(wrong.any()):
            environment, step = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"environment {environment}: step {step + 1} neither starts an episode nor continues the one before; "
                "set episode_starts after terminated or truncated, and valid only to False after an ending"
            )

    def _relevance(self) -> Tensor:
        if self.action_space.op_head is None:
            return torch.ones_like(self._fields["actions"], dtype=torch.bool)
        return self.action_space.relevance.to(self.device)[self._fields["effective_ops"]]

    def _has_choice(self, relevance: Tensor) -> Tensor:
        """Return where more than one action was legal, [E, T]; a step with a single legal action teaches nothing."""
        space = self.action_space
        if "masks" not in self._present:
            return torch.ones_like(self._fields["valid"])
        counts = []
        for head, name in enumerate(space.names):
            if head == space.slot_head:
                counts.append(_chosen_rows(self._masks[f"{name}_by_op"], self._fields["effective_ops"]).sum(-1))
            else:
                counts.append(self._masks[name].sum(-1))
        several = torch.stack(counts, dim=-1) > 1
        return (several & relevance).any(-1)


def _chosen_rows(by_op: Tensor, ops: Tensor) -> Tensor:
    """Return the rows [E, T, size] of a mask [E, T, ops, size] that belong to operations [E, T]."""
    index = ops[..., None, None].expand(*ops.shape, 1, by_op.shape[-1])
    return by_op.gather(2, index).squeeze(2)
