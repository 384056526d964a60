"""The probability of factored actions: masked, with a floor, and with an exact entropy.

Operation o is drawn first, then the slot s among those legal for o, then the other heads that o uses:
pi(a) = pi(o) pi(s | o) prod_h pi(h | o, s). Heads that o does not use are set to their placeholder, with
log-probability exactly 0. One class serves rollouts and updates, so that both compute the same numbers. The module
knows neither networks nor rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from sightline.tamiyo_policy.policy.contexts import ContextTable

_MASKED = -1e9  # finite, so that products with a probability of 0 are 0 and not nan; exp of it is exactly 0 in float32


class FactoredDistribution:
    """A distribution over actions [..., H] for a batch of states [...], computed in float32.

    Each head's softmax over its legal choices is mixed with the uniform distribution over them, `(1 - epsilon) softmax
    + epsilon / legal`: the floor holds for every legal choice, keeps their order, and never stops the gradient.

    Args:
        table: contexts of the action space.
        logits: one tensor for each head, [..., size], or, where the table is conditioned, [..., contexts of the head,
            size] for all heads but the operation. Any float dtype, any finite values.
        masks: legal choices (True), by the names and shapes of `space.mask_shapes` behind the batch; further names are
            not read. None if everything is legal.
        epsilon: share of the uniform distribution, in [0, 1).

    Raises:
        ValueError: a mask is missing or has another shape, a head that can be reached has no legal choice, or epsilon
            is out of range.
    """

    def __init__(
        self,
        table: ContextTable,
        logits: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        epsilon: float = 0.0,
    ) -> None:
        if not 0 <= epsilon < 1:
            raise ValueError(f"epsilon must be in [0, 1), not {epsilon!r}")
        self.table = table
        names = table.space.names
        rows = [logits[name] if table.shares_logits(h) else logits[name].flatten(-2) for h, name in enumerate(names)]
        joined = rows[0] if len(rows) == 1 else torch.cat(rows, -1)
        padded = self._padded(joined.float())
        self._legal = table.choices if masks is None else self._legal_choices(masks, padded.shape[:-2])
        self._all_legal = masks is None and table.direct  # and no row is padded
        if not self._all_legal:
            padded = padded.masked_fill(~self._legal, _MASKED)
        log_probs = padded.log_softmax(-1)
        if epsilon > 0:
            floor = math.log(epsilon) - self._legal.sum(-1, keepdim=True).clamp_min(1).log()
            mixed = torch.logaddexp(log_probs + math.log1p(-epsilon), floor.expand_as(log_probs))
            log_probs = torch.where(self._legal, mixed, log_probs)
        self._log_probs = log_probs  # [..., C, W]

    def _padded(self, joined: Tensor) -> Tensor:
        table = self.table
        rows = joined if table.direct else joined.index_select(-1, table.logit_index)
        return rows.unflatten(-1, (len(table.contexts), table.width))

    def _legal_choices(self, masks: Mapping[str, Tensor], batch: tuple[int, ...]) -> Tensor:
        """Return legal choices of every context, [..., C, W] bool."""
        table = self.table
        shapes = table.space.mask_shapes
        missing = [name for name in shapes if name not in masks]
        if missing:
            raise ValueError(f"masks are missing for {missing!r}; needed: {list(shapes)!r}")
        for name, shape in shapes.items():
            if masks[name].shape != (*batch, *shape) or masks[name].dtype != torch.bool:
                got = f"{masks[name].dtype} {list(masks[name].shape)}"
                raise ValueError(f"mask {name!r} must be torch.bool {[*batch, *shape]}, not {got}")
        joined = torch.cat([masks[name].flatten(-len(shape)) for name, shape in shapes.items()], -1)
        rows = joined.index_select(-1, table.mask_index).unflatten(-1, (len(table.contexts), table.width))
        legal = rows & table.choices
        empty = ~legal.any(-1) & self._reachable(legal)
        if bool(empty.any()):
            where = empty.nonzero()[0].tolist()
            context = table.contexts[where[-1]]
            raise ValueError(
                f"head {table.space.names[context.head]!r} has no legal choice at {where[:-1]!r} "
                f"although operations {context.ops!r} need one; its mask and the operation's contradict each other"
            )
        return legal

    def _reachable(self, legal: Tensor) -> Tensor:
        """Return contexts that some legal operation and slot lead to, [..., C] bool."""
        table = self.table
        if table.space.op_head is None:
            return table.always.bool()
        legal_ops = legal[..., 0, : table.space.num_ops, None]
        reachable = (legal_ops & table.used_by.bool()).any(-2) | table.always.bool()
        return reachable & (~table.follows_slot | legal.flatten(-2).index_select(-1, table.slot_index))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions.

        Args:
            generator: source of randomness, on the device of the logits; None is torch's default.

        Returns:
            int64 [..., H], heads that do not matter at their placeholder.
        """
        # argmax of log p - log Exp(1) draws from p (the Gumbel-max trick), for all contexts at once
        noise = torch.empty_like(self._log_probs).exponential_(generator=generator)
        return self._assemble((self._log_probs.detach() - noise.log()).argmax(-1))

    def mode(self) -> Tensor:
        """Return the most probable operation, then the most probable slot for it, then the rest likewise: [..., H]."""
        return self._assemble(self._log_probs.argmax(-1))

    def _assemble(self, choices: Tensor) -> Tensor:
        """Return actions [..., H] from one choice in every context [..., C]."""
        table, space = self.table, self.table.space
        if space.op_head is None:
            return choices
        op = choices[..., 0]
        slot = torch.zeros_like(op)
        if space.slot_head is not None:
            first = table.context_of[op, 0, space.slot_head].unsqueeze(-1)
            drawn = choices.gather(-1, first).squeeze(-1)
            slot = torch.where(table.relevance[op, space.slot_head], drawn, 0)
        actions = choices.gather(-1, table.context_of[op, slot])
        return torch.where(table.relevance[op], actions, table.placeholder)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log-probability of each head's choice given the operation and slot in the same row.

        Args:
            actions: int64 [..., H].

        Returns:
            float32 [..., H]; exactly 0 for heads that the operation does not use, whatever their value, and -inf for
            illegal choices. The sum over heads is the log-probability of the action.
        """
        table, space = self.table, self.table.space
        rows = self._log_probs
        if space.op_head is not None:
            op = actions[..., space.op_head]
            slot = torch.zeros_like(op) if space.slot_head is None else actions[..., space.slot_head]
            context = table.context_of[op, slot].unsqueeze(-1)
            rows = rows.gather(-2, context.expand(*context.shape[:-1], table.width))
        log_probs = rows.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        if not self._all_legal:
            log_probs = log_probs.masked_fill(log_probs < _MASKED / 2, -torch.inf)
        if space.op_head is None:
            return log_probs
        return torch.where(table.relevance[actions[..., space.op_head]], log_probs, 0.0)

    @cached_property
    def _probabilities(self) -> Tensor:
        return self._log_probs.exp()

    @property
    def op_probabilities(self) -> Tensor:
        """Probabilities of the operations, [..., ops]; all 1 without an operation."""
        if self.table.space.op_head is None:
            return self._log_probs.new_ones(*self._log_probs.shape[:-2], 1)
        return self._probabilities[..., 0, : self.table.space.num_ops]

    @cached_property
    def _weights(self) -> Tensor:
        """Probability that each context is drawn at all, [..., C]."""
        table = self.table
        if table.space.op_head is None:
            return table.always.expand(self._log_probs.shape[:-1])
        # a product and a sum instead of a matrix product, which autocast would round to bfloat16
        weights = table.always + (self.op_probabilities.unsqueeze(-1) * table.used_by).sum(-2)
        if not table.conditioned:
            return weights
        of_slot = self._probabilities.flatten(-2).index_select(-1, table.slot_index)
        return weights * torch.where(table.follows_slot, of_slot, 1.0)

    @cached_property
    def _context_entropies(self) -> Tensor:
        return -(self._probabilities * self._log_probs).sum(-1)

    def entropy_terms(self) -> Tensor:
        """Return each head's share of the entropy, in nats: [..., H].

        The term of a head is sum over operations o and slots s of pi(o) pi(s | o) H(h | o, s), that of the operation
        H(o): nothing is sampled, and the gradient through pi(o) is included.
        """
        weighted = self._weights * self._context_entropies
        if self.table.space.op_head is None:
            return weighted
        return (weighted.unsqueeze(-1) * self.table.of_head).sum(-2)

    def entropy(self) -> Tensor:
        """Return the entropy of whole actions in nats, [...]: by the chain rule, the sum of `entropy_terms`."""
        return self.entropy_terms().sum(-1)

    def normalised_entropies(self) -> Tensor:
        """Return the entropy of each head over ln(legal choices), given that it matters: [..., H] in [0, 1].

        The mean over the contexts of a head weighted by their probability; 0 where there is one choice, and for heads
        that no legal operation uses.
        """
        count = self._legal.sum(-1)
        relative = torch.where(count > 1, self._context_entropies / count.clamp_min(2).log(), 0.0)
        weights = self._weights.unsqueeze(-1) * self.table.of_head
        total = weights.sum(-2)
        # below the smallest normal number a quotient would be noise
        tiny = torch.finfo(total.dtype).tiny
        return (weights * relative.unsqueeze(-1)).sum(-2) / total.clamp_min(tiny)
