"""Factored actions: several discrete choices ("heads") made at once, of which one, the operation, says which matter.

An action is one row of int64, column h for head h; `spaces.ActionCodec` makes Gymnasium's spaces factored ones. The
module knows neither networks nor which actions are legal in which state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FactoredActionSpace:
    """Heads, which of them an operation uses, and what the others are set to.

    Raises:
        ValueError: the parts contradict each other.
    """

    names: tuple[str, ...]
    """H distinct names, column h of an action is head `names[h]`."""
    sizes: tuple[int, ...]
    """H numbers of choices."""
    op_head: int | None
    """The head whose choice, the operation, decides which others matter; None if all always do."""
    relevance: Tensor
    """bool [operations, H], which heads an operation uses; one row of True without an operation. The operation's own
    column is True."""
    placeholder: Tensor
    """int64 [H], what a head is set to when it does not matter."""
    slot_head: int | None = None
    """The head that names the object of the operation, whose legal choices depend on the operation; None if there is no
    such head."""

    def __post_init__(self) -> None:
        heads = len(self.names)
        if not heads or len(set(self.names)) != heads or len(self.sizes) != heads or min(self.sizes) < 1:
            raise ValueError(f"names must differ and each have a size above 0: {self.names!r} with {self.sizes!r}")
        for field, head in (("op_head", self.op_head), ("slot_head", self.slot_head)):
            if head is not None and not 0 <= head < heads:
                raise ValueError(f"{field} must be a column from 0 to {heads - 1}, not {head!r}")
        if self.slot_head is not None and self.op_head in (None, self.slot_head):
            raise ValueError("a slot head needs an operation head beside it")
        if self.relevance.shape != (self.num_ops, heads) or self.relevance.dtype != torch.bool:
            raise ValueError(f"relevance must be bool [{self.num_ops}, {heads}], not {list(self.relevance.shape)}")
        always = self.relevance if self.op_head is None else self.relevance[:, self.op_head]
        if not bool(always.all()):
            raise ValueError("the operation's own column of relevance must be True; without an operation, every column")
        low, high = torch.zeros(heads, dtype=torch.int64), torch.tensor(self.sizes)
        if self.placeholder.shape != (heads,) or not bool(
            ((self.placeholder >= low) & (self.placeholder < high)).all()
        ):
            raise ValueError(f"placeholder must hold one choice of each head, not {self.placeholder!r}")

    @property
    def num_ops(self) -> int:
        """Number of operations; 1 without an operation head."""
        return 1 if self.op_head is None else self.sizes[self.op_head]

    @property
    def mask_shapes(self) -> dict[str, tuple[int, ...]]:
        """Masks a policy reads, by name, and their shapes behind the batch: [size], for the slots [ops, size]."""
        shapes: dict[str, tuple[int, ...]] = {}
        for head, (name, size) in enumerate(zip(self.names, self.sizes, strict=True)):
            if head == self.slot_head:
                shapes[f"{name}_by_op"] = (self.num_ops, size)
            else:
                shapes[name] = (size,)
        return shapes

    def by_name(self, columns: Tensor) -> dict[str, Tensor]:
        """Split [..., H] (actions, log-probabilities, entropies) into one tensor [...] for each head."""
        return dict(zip(self.names, columns.unbind(-1), strict=True))

    def columns(self, by_name: Mapping[str, Tensor]) -> Tensor:
        """Put one tensor [...] for each head into [..., H], the inverse of `by_name`.

        Raises:
            ValueError: a head is missing, or a name is none of the heads.
        """
        missing = [name for name in self.names if name not in by_name]
        unknown = [name for name in by_name if name not in self.names]
        if missing or unknown:
            raise ValueError(f"an action needs the heads {self.names!r}; missing: {missing!r}, unknown: {unknown!r}")
        return torch.stack([by_name[name] for name in self.names], dim=-1)

    @classmethod
    def independent(cls, names: tuple[str, ...], sizes: tuple[int, ...]) -> FactoredActionSpace:
        """Return heads that all matter, always."""
        relevance = torch.ones(1, len(names), dtype=torch.bool)
        return cls(names, sizes, None, relevance, torch.zeros(len(names), dtype=torch.int64))
