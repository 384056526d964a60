"""What a chunk's score owes to the rest of its page: attention over the chunks of a page beside the condition.

A linear query judges every chunk alone. Which product is the cheapest, or whether a better hit stands above, is only
known to who sees them all. This module does not know where conditions or embeddings come from.
"""

from __future__ import annotations

from typing import Final

from sightline.retrieval._torch import torch

PLACES: Final = 64
"""Places on a page that are told apart; later ones count as the last."""


class PageAttention(torch.nn.Module):
    """Adds a score per chunk from one transformer layer (Vaswani et al. 2017) over a page's chunks and the condition.

    Its output layer starts at zero, so that an untrained one adds nothing.

    Args:
        condition_dim: C, length of a condition vector.
        chunk_dim: D, length of a chunk embedding.
        width: size of the residual stream; four heads divide it.
        seed: seed of the initial weights; the global random state is left as it was.
    """

    def __init__(self, condition_dim: int, chunk_dim: int, width: int, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.condition = torch.nn.Linear(condition_dim, width)
            self.chunk = torch.nn.Linear(chunk_dim + 1, width)
            self.place = torch.nn.Embedding(PLACES, width)
            self.layer = torch.nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            self.head = torch.nn.Linear(width, 1)
        for tensor in (self.head.weight, self.head.bias, self.place.weight):
            torch.nn.init.zeros_(tensor)

    def forward(
        self, condition: torch.Tensor, unit: torch.Tensor, scores: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return what each chunk's score gains, `[B, n]`.

        Args:
            condition: `[B, C]` float.
            unit: `[B, n, D]` unit embeddings, in page order.
            scores: `[B, n]` what each chunk scores by itself.
            mask: `[B, n]` bool, True where there is a chunk.
        """
        places = torch.arange(unit.shape[1], device=unit.device).clamp(max=PLACES - 1)
        chunks = self.chunk(torch.cat([unit, scores[..., None]], dim=-1)) + self.place(places)
        tokens = torch.cat([self.condition(condition)[:, None], chunks], dim=1)
        shown = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        return self.head(self.layer(tokens, src_key_padding_mask=~shown)[:, 1:]).squeeze(-1)
