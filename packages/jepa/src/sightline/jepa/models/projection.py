"""A learned change of the embedding space that questions and sources go through alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SharedProjection(nn.Module):
    """`unit(x + x W)` with W starting at zero, so that the untrained projection changes nothing.

    One matrix for both sides: the index has to be embedded again with it before predictions are searched there.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.change = nn.Linear(dimension, dimension, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """Project unit rows `[n, D]` to unit rows `[n, D]`; zero rows stay zero."""
        return functional.normalize(vectors + self.change(vectors), dim=1)

    @torch.no_grad()
    def project(self, vectors: Tensor) -> Tensor:
        """Project as `forward` does, without gradients: for embedding an index."""
        return self(vectors)
