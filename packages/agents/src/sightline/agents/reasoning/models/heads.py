"""What is read from an answer's latents: a token for each cell, or a policy and a value; and whether to halt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.agents.reasoning.models.layers import matrix

_HALT_BIAS = -5.0
# A halting head that began undecided would stop every question at once.


@dataclass(frozen=True)
class Output:
    """What a reasoner says after a segment."""

    logits: Tensor
    """Of each cell's token, [B, L, V]; or of each action, [B, A]."""
    value: Tensor | None
    """Of the position for who is to move, [B] within -1 and 1; None where there are cells."""
    halt: Tensor
    """[B], logit of "the answer is right"."""
    proceed: Tensor | None
    """[B], logit of "right after going on", where the model has that head."""

    @property
    def margin(self) -> Tensor:
        """[B]; a question may halt where this is positive."""
        return self.halt if self.proceed is None else self.halt - self.proceed


class CellHead(nn.Module):
    """A linear layer from each cell's latents to its token."""

    def __init__(self, vocabulary: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = matrix(vocabulary, width, generator)

    def forward(self, answer: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits, [B, L, V], of an answer, [L, B, D], and no value."""
        return functional.linear(answer, self.weight).transpose(0, 1), None


class PolicyValueHead(nn.Module):
    """Linear layers from all cells' latents to a logit for each action and to a value."""

    def __init__(self, actions: int, length: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.actions = actions
        self.weight = matrix(actions + 1, length * width, generator)
        self.bias = nn.Parameter(torch.zeros(actions + 1))

    def forward(self, answer: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits, [B, A], of an answer, [L, B, D], and the value, [B]."""
        read = functional.linear(answer.transpose(0, 1).flatten(1), self.weight, self.bias)
        return read[:, : self.actions], read[:, self.actions].tanh()


class HaltHead(nn.Module):
    """Logits of being right now, and of being right later, from the mean over cells, none of which is special."""

    def __init__(self, decisions: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(decisions, width))
        self.bias = nn.Parameter(torch.full((decisions,), _HALT_BIAS))

    def forward(self, answer: Tensor) -> Tensor:
        """Return the logits, [B, decisions], of an answer, [L, B, D]."""
        return functional.linear(answer.mean(dim=0), self.weight, self.bias)
