"""Keys and values that a causal language model computed for the beginnings of prompts, for prompts that begin alike.

Prefixes are held in blocks of so many tokens, each under the digest of all tokens up to its end, so that prompts share
the blocks they have in common (PagedAttention's automatic prefix caching, Kwon et al. 2023). This module knows nothing
of candidates, masks or scores, and nothing of which model it serves: one cache belongs to one model and its weights.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sightline.agents.actors.bounded_cache import BoundedCache

try:
    from transformers import DynamicCache
except ImportError as error:
    raise ImportError("language models need an extra: pip install 'sightline-agents[language-model]'") from error


@dataclass(frozen=True, slots=True)
class RecalledPrefixes:
    """What a batch of prompts need not read again."""

    lengths: list[int]
    """Tokens of each prompt that are held; fewer than it has, since its last token predicts what follows."""
    states: Any
    """The model's `past_key_values`: `max(lengths)` positions, a row's own first, then zeros. The model adds what it
    reads."""

    @property
    def width(self) -> int:
        """Positions of the states before the model reads on."""
        return max(self.lengths)


class PrefixCache:
    """Attention states of token prefixes, bounded in bytes, the least recently used forgotten first.

    The states lie on the model's device. Not safe to use from several threads at once.

    Args:
        max_bytes: most bytes of states held.
        block_tokens: tokens of a block; up to so many tokens of a shared prefix are read again.

    Raises:
        ValueError: one of the two is out of range.
    """

    def __init__(self, max_bytes: int, block_tokens: int = 16) -> None:
        if block_tokens < 1:
            raise ValueError(f"a block must have at least 1 token, not {block_tokens!r}")
        self.block_tokens = block_tokens
        self.reused_tokens = 0
        # A block is [layers, 2, heads, block_tokens, head size]: keys, then values.
        self._blocks: BoundedCache[Tensor] = BoundedCache(max_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes of the states that are held."""
        return self._blocks.held_bytes

    def held_tokens(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of the prompt need not be read; asking does not count as use."""
        return len(self._held_keys(prompt)) * self.block_tokens

    def recall(self, prompts: Sequence[Sequence[int]]) -> RecalledPrefixes:
        """Return the longest held prefixes of a batch of prompts, as the model takes them."""
        rows = []
        for prompt in prompts:
            # The last block is touched first: a block is of no use once one before it is forgotten.
            found = [self._blocks.get(key) for key in reversed(self._held_keys(prompt))]
            rows.append([block for block in reversed(found) if block is not None])
        recalled = RecalledPrefixes([len(row) * self.block_tokens for row in rows], DynamicCache())
        self.reused_tokens += sum(recalled.lengths)
        if recalled.width:
            example = next(row[0] for row in rows if row)
            states = example.new_zeros(len(rows), *example.shape[:3], recalled.width, example.shape[4])
            for row, length, blocks in zip(states, recalled.lengths, rows, strict=True):
                if blocks:
                    row[..., :length, :] = torch.cat(blocks, dim=-2)
            for layer in range(states.shape[1]):
                recalled.states.update(states[:, layer, 0], states[:, layer, 1], layer)
        return recalled

    def remember(self, prompts: Sequence[Sequence[int]], recalled: RecalledPrefixes, starts: Sequence[int]) -> None:
        """Hold what a batch has read.

        Args:
            prompts: prompts that were recalled for.
            recalled: answer to that, whose states the model has extended since.
            starts: position, among the tokens that were read, of each prompt's first one.

        Raises:
            RuntimeError: the model's layers differ in their shapes.
        """
        layers = recalled.states.layers
        for row, (prompt, length, start) in enumerate(zip(prompts, recalled.lengths, starts, strict=True)):
            keys = list(self._keys(prompt))[length // self.block_tokens :]
            first = recalled.width + start
            read = slice(first, first + len(keys) * self.block_tokens)
            if not keys:
                continue
            pairs = [torch.stack([layer.keys[row, :, read], layer.values[row, :, read]]) for layer in layers]
            blocks = torch.stack(pairs).split(self.block_tokens, dim=-2)
            for key, block in reversed(list(zip(keys, blocks, strict=True))):
                # A copy: a part of the whole would keep all of it in memory.
                self._blocks.put(key, block.clone(), block.numel() * block.element_size() + len(key))

    def clear(self) -> None:
        """Forget everything, for example because the model's weights have changed."""
        self._blocks.clear()

    def _held_keys(self, prompt: Sequence[int]) -> list[bytes]:
        held = []
        for key in self._keys(prompt[:-1]):
            if key not in self._blocks:
                break
            held.append(key)
        return held

    def _keys(self, prompt: Sequence[int]) -> Iterator[bytes]:
        """Yield the key of each whole block: a digest of all tokens up to its end."""
        digest = hashlib.blake2b(digest_size=16)
        for end in range(self.block_tokens, len(prompt) + 1, self.block_tokens):
            digest.update(array("q", prompt[end - self.block_tokens : end]).tobytes())
            yield digest.digest()
