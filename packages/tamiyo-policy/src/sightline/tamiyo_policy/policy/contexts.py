"""The situations in which a head's choice is drawn, as index tables over padded rows.

A *context* is a head together with the operations (and, where heads are conditioned, the slot) under which it is
drawn. All contexts of a policy are rows of one tensor [..., C, W], W being the largest head, so that one log-softmax,
one sampling step and one gather serve all heads. The module knows nothing about probabilities or networks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace


class Context(NamedTuple):
    """One situation in which a head is drawn."""

    head: int
    """The head's column."""
    ops: tuple[int, ...]
    """The operations under which it is drawn so."""
    slot: int | None = None
    """The chosen slot under which it is drawn so, or None if any."""


class ContextTable(nn.Module):
    """All contexts of an action space and where their logits, masks and actions lie. Holds no parameters.

    The operation's context comes first; without an operation, context h is head h.

    Args:
        space: the action space.
        conditioned: whether every head but the operation has logits of its own for every operation, and, behind the
            slot head, for every slot. Otherwise a head has the same logits whatever was chosen.

    Attributes:
        space: the action space.
        contexts: C contexts.
        width: W.
        direct: whether the joined logits are the padded rows themselves.

    Raises:
        ValueError: heads are to be conditioned, and there is no operation.
    """

    logit_index: Tensor
    """int64 [C * W], position among the heads' logits, flattened and joined in the order of the heads."""
    mask_index: Tensor
    """int64 [C * W], position among the masks, likewise."""
    choices: Tensor
    """Bool [C, W], False at padding."""
    context_of: Tensor
    """int64 [ops, slots, H], the context of each head once operation and slot are known; 0 where the head does not
    matter."""
    relevance: Tensor
    """Bool [ops, H]."""
    placeholder: Tensor
    """int64 [H]."""
    used_by: Tensor
    """Float [ops, C], 1 where the operation leads to the context; the contexts that are always drawn are in `always`
    instead."""
    always: Tensor
    """Float [C], 1 for contexts that are drawn whatever the operation."""
    follows_slot: Tensor
    """Bool [C], whether the context holds for one slot only."""
    slot_index: Tensor
    """int64 [C], position in the flattened [C * W] of the choice of that slot."""
    of_head: Tensor
    """Float [C, H], 1 where the context belongs to the head."""

    def __init__(self, space: FactoredActionSpace, *, conditioned: bool = False) -> None:
        super().__init__()
        if conditioned and space.op_head is None:
            raise ValueError("heads can only be conditioned on an operation; this action space has none")
        self.space = space
        self.conditioned = conditioned
        self.contexts = _contexts(space, conditioned)
        self.width = max(space.sizes)
        tables = {
            "logit_index": self._logit_index(),
            "mask_index": self._mask_index(),
            "choices": torch.arange(self.width) < torch.tensor([[space.sizes[c.head]] for c in self.contexts]),
            "context_of": self._context_of(),
            "relevance": space.relevance.cpu(),
            "placeholder": space.placeholder.cpu(),
            **self._weights(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        rows = torch.arange(len(self.contexts) * self.width)
        self.direct = bool(self.choices.all()) and torch.equal(self.logit_index, rows)

    def of(self, head: int) -> list[Context]:
        """Return the contexts of a head, in the order in which a conditioned head gives their logits."""
        return [context for context in self.contexts if context.head == head]

    def shares_logits(self, head: int) -> bool:
        """Return whether a head's logits have shape [..., size] and not [..., contexts of the head, size]."""
        return not self.conditioned or head == self.space.op_head

    def _rows(self, starts: list[int]) -> Tensor:
        """Return positions from each start on, as wide as the head, and the start itself at padding: [C * W]."""
        sizes = torch.tensor([[self.space.sizes[context.head]] for context in self.contexts])
        column = torch.arange(self.width)
        return (torch.tensor(starts)[:, None] + torch.where(column < sizes, column, 0)).flatten()

    def _logit_index(self) -> Tensor:
        first: dict[int, int] = {}
        position = 0
        for head, size in enumerate(self.space.sizes):
            first[head] = position
            position += size * (1 if self.shares_logits(head) else len(self.of(head)))
        starts = []
        for context in self.contexts:
            starts.append(first[context.head])
            if not self.shares_logits(context.head):
                first[context.head] += self.space.sizes[context.head]
        return self._rows(starts)

    def _mask_index(self) -> Tensor:
        first: dict[int, int] = {}
        position = 0
        for head, shape in enumerate(self.space.mask_shapes.values()):
            first[head] = position
            position += torch.Size(shape).numel()
        return self._rows(
            [
                first[context.head] + (context.ops[0] * self.space.sizes[head] if head == self.space.slot_head else 0)
                for context in self.contexts
                for head in [context.head]
            ]
        )

    def _context_of(self) -> Tensor:
        space = self.space
        num_slots = 1 if space.slot_head is None else space.sizes[space.slot_head]
        table = torch.zeros(space.num_ops, num_slots, len(space.sizes), dtype=torch.int64)
        for index, context in enumerate(self.contexts):
            for op in context.ops:
                table[op, slice(None) if context.slot is None else context.slot, context.head] = index
        return table

    def _weights(self) -> dict[str, Tensor]:
        space, number = self.space, len(self.contexts)
        used_by, always = torch.zeros(space.num_ops, number), torch.zeros(number)
        slot_index, of_head = torch.zeros(number, dtype=torch.int64), torch.zeros(number, len(space.sizes))
        for index, context in enumerate(self.contexts):
            of_head[index, context.head] = 1.0
            if space.op_head in (None, context.head):
                always[index] = 1.0
            else:
                used_by[list(context.ops), index] = 1.0
            if context.slot is not None:
                slots = self.contexts.index(Context(space.slot_head or 0, context.ops))
                slot_index[index] = slots * self.width + context.slot
        return {
            "used_by": used_by,
            "always": always,
            "follows_slot": torch.tensor([context.slot is not None for context in self.contexts]),
            "slot_index": slot_index,
            "of_head": of_head,
        }


def _contexts(space: FactoredActionSpace, conditioned: bool) -> list[Context]:
    """Return contexts in the order operation, slots, others; heads that no operation uses have none."""
    if space.op_head is None:
        return [Context(head, (0,)) for head in range(len(space.sizes))]
    ops = range(space.num_ops)
    contexts = [Context(space.op_head, tuple(ops))]
    uses = [[op for op in ops if space.relevance[op, head]] for head in range(len(space.sizes))]
    if space.slot_head is not None:
        contexts += [Context(space.slot_head, (op,)) for op in uses[space.slot_head]]
    for head in range(len(space.sizes)):
        if head in (space.op_head, space.slot_head) or not uses[head]:
            continue
        if not conditioned:
            contexts.append(Context(head, tuple(uses[head])))
            continue
        for op in uses[head]:
            follows = space.slot_head is not None and bool(space.relevance[op, space.slot_head])
            slots = range(space.sizes[space.slot_head or 0]) if follows else [None]
            contexts += [Context(head, (op,), slot) for slot in slots]
    return contexts
