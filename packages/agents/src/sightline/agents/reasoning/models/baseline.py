"""The comparison for recursive reasoners: the same blocks in one plain pass."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.agents.reasoning.config import PlainConfig
from sightline.agents.reasoning.models.reasoner import Latents, Reasoner


class PlainNetwork(Reasoner):
    """Blocks applied once, one after another: with attention, a transformer.

    It is trained with one segment; further segments repeat the first, for nothing is carried on.
    """

    config_type = PlainConfig
    carries = False

    def initial(self, inputs: Tensor, dtype: torch.dtype | None = None) -> Latents:
        """Return an answer to start from, and no scratch space."""
        start = super().initial(inputs, dtype)
        return Latents(start.answer, start.latent[:0])

    def update(self, question: Tensor, latents: Latents) -> Latents:
        """Pass the question through the blocks."""
        return Latents(self.network(0, question.dtype)(question), latents.latent)
