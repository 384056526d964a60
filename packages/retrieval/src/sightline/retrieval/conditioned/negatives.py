"""Which chunks a retriever is trained to rank below the right ones: some of the same page, and those of other pages.

It knows chunks by their rows in the table of embeddings, and not what they say.
"""

from __future__ import annotations

from sightline.retrieval._torch import torch

_ROUNDING = 1e-5  # of a cosine in float32


def sample_page_negatives(
    positives: torch.Tensor, mask: torch.Tensor, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw negatives of each example's own page without replacement.

    Args:
        positives: `[B, n]` bool.
        mask: `[B, n]` bool, True for candidates.
        count: negatives per example; all of them where there are fewer.
        generator: source of the draw, on the CPU; consumed.

    Returns:
        `[B, n]` bool, True for all positives and the negatives drawn.
    """
    negatives = mask & ~positives
    keys = torch.rand(mask.shape, generator=generator).to(mask.device).masked_fill(~negatives, 2.0)
    rank = keys.argsort(dim=1).argsort(dim=1)
    return positives | (negatives & (rank < count))


def in_batch_negatives(
    embeddings: torch.Tensor,
    rows: torch.Tensor,
    positives: torch.Tensor,
    mask: torch.Tensor,
    pooled: torch.Tensor,
    max_cosine: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return chunks of the other pages in a batch (Karpukhin et al. 2020, section 3.2), without false negatives.

    Not a negative of an example is what its own page holds (those are its positives and its page negatives already),
    and what is nearly or exactly what one of its positives says, like the same button on another page.

    Args:
        embeddings: `[U, D]` float, one row per distinct chunk.
        rows: `[B, n]` int64, the chunks of each example's page as rows of `embeddings`.
        positives: `[B, n]` bool.
        mask: `[B, n]` bool, True where there is a chunk and False where there is padding.
        pooled: `[B, n]` bool, the chunks to lend to the other examples; within `mask`.
        max_cosine: chunks at least this similar to a positive of an example are no negatives of it.

    Returns:
        The distinct pooled chunks, `[M]` rows of `embeddings` in ascending order, and which of them are negatives
        of which example, `[B, M]` bool.
    """
    pool = rows[pooled].unique()
    place = torch.searchsorted(pool, rows).clamp(max=len(pool) - 1)
    on_page = mask & (pool[place] == rows)
    excluded = torch.zeros(len(rows), len(pool) + 1, dtype=torch.bool, device=rows.device)
    excluded.scatter_(1, torch.where(on_page, place, len(pool)), True)
    example, _ = positives.nonzero(as_tuple=True)
    unit = torch.nn.functional.normalize
    similar = unit(embeddings[rows[positives]], dim=1) @ unit(embeddings[pool], dim=1).T >= max_cosine - _ROUNDING
    hits = torch.zeros(len(rows), len(pool), device=rows.device).index_add_(0, example, similar.float())
    return pool, ~(excluded[:, :-1] | (hits > 0))
