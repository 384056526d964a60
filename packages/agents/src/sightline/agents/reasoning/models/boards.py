"""A reasoner as a policy-value network over boards, for a search that asks what to play and how it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightline.agents.reasoning.models.reasoner import Reasoner


class BoardReasoner(nn.Module):
    """Stones in planes to logits of actions and a value, by a fixed number of segments."""

    def __init__(self, reasoner: Reasoner, segments: int) -> None:
        """Wrap a reasoner, which stays the caller's to train.

        Args:
            reasoner: reasoner with `actions` in its configuration, a vocabulary of 3 and as many cells as the board.
            segments: gone through for each judgement.

        Raises:
            ValueError: the reasoner answers puzzles, or there are no segments.
        """
        super().__init__()
        if reasoner.config.actions is None:
            raise ValueError("a reasoner over boards needs actions in its configuration")
        if segments < 1:
            raise ValueError(f"segments must be positive, not {segments}")
        self.reasoner = reasoner
        self.segments = segments if reasoner.carries else 1

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, [B, A], and values for the side to move, [B].

        Args:
            planes: stones of the side to move and of the other one, [B, 2, columns, rows].
        """
        tokens = board_tokens(planes)
        latents = self.reasoner.initial(tokens)
        for segment in range(self.segments):
            with torch.set_grad_enabled(torch.is_grad_enabled() and segment == self.segments - 1):
                latents, output = self.reasoner(tokens, latents)
        assert output.value is not None
        return output.logits, output.value


def board_tokens(planes: Tensor) -> Tensor:
    """Return boards as questions, [B, columns x rows]: 0 empty, 1 a stone of the side to move, 2 of the other."""
    return (planes[:, 0] + 2 * planes[:, 1]).flatten(1).long()
