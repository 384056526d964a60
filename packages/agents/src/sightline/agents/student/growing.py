"""A student with room to grow: places for one more block, or one more feed-forward layer, each.

What is planted into a place changes no output at first: the matrices that write to the residual stream are zero, as in
Net2Net's deeper students (Chen et al. 2016) and in zero-initialised residual branches. How much of it counts later is
up to whoever plants it. This module knows nothing of who decides what is planted, nor of when or why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sightline.agents.actors.candidate_scoring import PackedPrompt
from sightline.agents.student.config import StudentTrainingConfig
from sightline.agents.student.training import make_student

try:
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm
except ImportError as error:
    raise ImportError("the student needs an extra: pip install 'sightline-agents[language-model]'") from error

Kind: TypeAlias = Literal["block", "feed_forward"]
"""What can stand in a place: attention with a feed-forward layer behind it, or the latter alone, as wide."""

Residual: TypeAlias = Callable[[Tensor], Tensor]
"""Hidden states [B, T, D] -> what a module adds to them, of the same shape."""

Blend: TypeAlias = Callable[[Tensor, Residual], Tensor]
"""Hidden states before a place and the residual of what stands there -> hidden states behind it."""


def added(hidden: Tensor, residual: Residual) -> Tensor:
    """Return the hidden states with the whole residual, as in a block that was there from the start."""
    return hidden + residual(hidden)


class GrowthPlace(nn.Module):
    """A place among a student's blocks. A module of each kind waits in it, of which one at most is in use.

    Attributes:
        holds: kind in use; None for an empty place, which hands on what it gets.
        blend: how the residual of what is in use enters; `added` from the beginning.
    """

    def __init__(self, config: LlamaConfig, index: int) -> None:
        super().__init__()
        self.holds: Kind | None = None
        self.blend: Blend = added
        self.block = LlamaDecoderLayer(config, index)
        self.feed_forward = nn.Sequential(LlamaRMSNorm(config.hidden_size, config.rms_norm_eps), LlamaMLP(config))
        self._deviation = config.initializer_range

    @torch.no_grad()
    def plant(self, kind: Kind, generator: torch.Generator) -> None:
        """Put a fresh module into the place, which changes no output: what it writes is zero.

        Args:
            kind: block or feed-forward layer.
            generator: source of its first weights, consumed.
        """
        for name, parameter in self.module(kind).named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * self._deviation)
        self.holds, self.blend = kind, added

    def module(self, kind: Kind) -> nn.Module:
        """Return the module of a kind that waits here, in use or not."""
        return self.block if kind == "block" else self.feed_forward

    def forward(self, hidden_states: Tensor, **context: Any) -> Tensor:
        """Return hidden states [B, T, D] behind the place; the context is that of the student's own blocks."""
        if self.holds is None:
            return hidden_states
        if self.holds == "feed_forward":
            return self.blend(hidden_states, self.feed_forward)
        return self.blend(hidden_states, lambda hidden: self.block(hidden, **context) - hidden)


def student_with_places(
    config: StudentTrainingConfig, vocabulary_size: int, behind: Sequence[int]
) -> tuple[LlamaForCausalLM, list[GrowthPlace]]:
    """Return a student and its empty places; without what they hold it is the student that `make_student` gives.

    Args:
        config: size and seed of the student as it is at first.
        vocabulary_size: tokens of its tokenizer.
        behind: number of the student's own blocks before each place, rising.

    Raises:
        ValueError: a place is where the student has no block, or the places do not rise.
    """
    if list(behind) != sorted(behind) or not all(0 <= at <= config.layers for at in behind):
        raise ValueError(f"places must rise from 0 to {config.layers}, the number of blocks, got {list(behind)}")
    model = make_student(config, vocabulary_size)
    with torch.random.fork_rng(devices=[]):
        places = [GrowthPlace(model.config, config.layers + at) for at in range(len(behind))]
    own = list(model.model.layers)
    layers: list[nn.Module] = []
    for at in range(config.layers + 1):
        layers += [place for place, before in zip(places, behind, strict=True) if before == at]
        layers += own[at : at + 1]
    model.model.layers = nn.ModuleList(layers)
    model.config.num_hidden_layers = len(layers)
    return model, places


def forward_flops(model: LlamaForCausalLM, packed_prompts: Sequence[PackedPrompt]) -> int:
    """Return the floating-point operations of the matrix products in which a student scores a batch, padding included.

    A product of [n, k] and [k, m] takes 2 n k m; attention multiplies all pairs of tokens, seen or not. Training takes
    three times as many. What stands in a place counts in full, whatever share of it does. Norms, rotations and
    softmaxes are left out.

    Args:
        model: a student from `make_student` or `student_with_places`.
        packed_prompts: prompts of one batch.
    """
    rows, width = len(packed_prompts), model.config.hidden_size
    tokens = max(packed.length for packed in packed_prompts)
    read_out = max(packed.length - len(packed.prompt) for packed in packed_prompts) + 1
    modules = [
        layer.module(layer.holds) if isinstance(layer, GrowthPlace) and layer.holds else layer
        for layer in model.model.layers
        if not (isinstance(layer, GrowthPlace) and layer.holds is None)
    ]
    total = 2 * rows * read_out * width * model.config.vocab_size
    for module in modules:
        matrices = sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)
        total += 2 * rows * tokens * matrices
        if isinstance(module, LlamaDecoderLayer):
            total += 4 * rows * tokens * tokens * width
    return total
