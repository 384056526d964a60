"""Which pairs are for training, validation and test, such that nothing of one is seen in another.

It knows pairs and which texts are equal; it knows nothing of embeddings or categories.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.int64]

TRAIN, VALIDATION, TEST = 0, 1, 2

_LARGE = 0.01  # share of the pairs, above which a component that comes last could not be made up for


def pair_components(pairs: Ids, question_text_ids: Ids, source_text_ids: Ids) -> Ids:
    """Find connected components of the graph whose edges are the pairs and whose nodes are the distinct texts.

    Two pairs are in one component if a chain of shared questions, shared sources or exactly equal texts leads from one
    to the other.

    Args:
        pairs: `[P, 2]` question and source ids.
        question_text_ids: `[Q]`, equal where questions have the same text.
        source_text_ids: `[S]`, equal where sources have the same text.

    Returns:
        `[P]` int64, components numbered from 0 in the order of their first pair.
    """
    question_nodes = np.unique(question_text_ids, return_inverse=True)[1][pairs[:, 0]]
    source_nodes = np.unique(source_text_ids, return_inverse=True)[1][pairs[:, 1]] + len(question_text_ids)
    parent = list(range(len(question_text_ids) + len(source_text_ids)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]  # path halving (Tarjan and van Leeuwen 1984)
            node = parent[node]
        return node

    for question, source in zip(question_nodes.tolist(), source_nodes.tolist(), strict=True):
        parent[root(question)] = root(source)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(node), len(numbers)) for node in question_nodes.tolist()], dtype=np.int64)


def split_by_components(
    pairs: Ids,
    question_text_ids: Ids,
    source_text_ids: Ids,
    *,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int,
) -> NDArray[np.int8]:
    """Deal whole components to training, validation and test.

    Components are dealt in random order, after those that hold more than a hundredth of the pairs, which come first and
    from the largest. Each goes to the split that lacks the largest part of its share, among those that lack at least as
    many pairs as the component has; where none does, to the one that lacks most pairs. So every split has small and
    large components, and one too large for a small split goes to a larger.

    Args:
        pairs: `[P, 2]` question and source ids.
        question_text_ids: `[Q]`, equal where questions have the same text.
        source_text_ids: `[S]`, equal where sources have the same text.
        fractions: shares of the pairs for training, validation and test; non-negative, adding up to 1.
        seed: seed of the random order.

    Returns:
        `[P]` int8: 0 training, 1 validation, 2 test.

    Raises:
        ValueError: the fractions are no shares of a whole.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three shares of at least 0 that add up to 1, not {fractions!r}")
    components = pair_components(pairs, question_text_ids, source_text_ids)
    sizes = np.bincount(components)
    shares = np.array(fractions) * len(pairs)
    lacking = shares.copy()
    split_of = np.empty(len(sizes), dtype=np.int8)
    order = np.random.default_rng(seed).permutation(len(sizes))
    large = np.where(sizes > _LARGE * len(pairs), sizes, 0)
    for component in order[np.argsort(-large[order], kind="stable")]:
        roomy = lacking >= sizes[component]
        part = np.where(roomy, lacking / np.maximum(shares, 1e-12), -np.inf)
        split = int(part.argmax() if roomy.any() else lacking.argmax())
        split_of[component] = split
        lacking[split] -= sizes[component]
    return split_of[components]
