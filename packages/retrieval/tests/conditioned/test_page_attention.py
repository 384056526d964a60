from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sightline.retrieval import RetrieverTrainingConfig, StateConditionedRetriever, train_retriever
from sightline.retrieval.conditioned.embedded_examples import EmbeddedExamples


def pages(count: int, rng: np.random.Generator) -> EmbeddedExamples:
    """Pages of five chunks of which the one with the largest first number is right: no chunk says so alone."""
    embeddings = rng.uniform(0.1, 1.0, (5 * count, 8)).astype(np.float32)
    embeddings[:, 1:] = 0.5
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    candidates = tuple(np.arange(5 * page, 5 * page + 5) for page in range(count))
    positives = tuple(embeddings[rows, 0] == embeddings[rows, 0].max() for rows in candidates)
    return EmbeddedExamples(embeddings, candidates, positives)


def test_an_untrained_one_changes_no_score_and_padding_changes_none() -> None:
    alone = StateConditionedRetriever(3, 8, seed=1)
    seeing = StateConditionedRetriever(3, 8, page_width=8, seed=1)
    condition, chunks = torch.randn(2, 3), torch.randn(2, 4, 8)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert torch.equal(alone.scores(condition, chunks, mask), seeing.scores(condition, chunks, mask))
    assert seeing.page_attention is not None
    torch.nn.init.normal_(seeing.page_attention.head.weight)
    padded = seeing.scores(condition, chunks, mask)[1, :2]
    short = seeing.scores(condition[1:], chunks[1:, :2], mask[1:, :2])[0]
    assert torch.allclose(padded, short, atol=1e-6)


def test_a_chunks_score_depends_on_the_rest_of_its_page_and_is_kept_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    examples = pages(300, rng)
    found = {}
    for width in (None, 16):
        retriever = StateConditionedRetriever(2, 8, page_width=width, importance=False, seed=0)
        config = RetrieverTrainingConfig(epochs=15, train_query_proj_only=False, learning_rate=5e-3, top_k=1)
        result = train_retriever(
            retriever,
            examples,
            condition_fn=lambda positions: torch.zeros(len(positions), 2),
            training=range(200),
            validation=range(200, 300),
            config=config,
        )
        found[width] = max(epoch.recall for epoch in result.history)
        retriever.save_pretrained(tmp_path / str(width))
        again = StateConditionedRetriever.from_pretrained(tmp_path / str(width))
        one = torch.zeros(1, 2), torch.tensor(examples.embeddings[:5])[None], torch.ones(1, 5, dtype=torch.bool)
        assert torch.equal(again.scores(*one), retriever.eval().scores(*one))
    assert found[16] > 0.9
