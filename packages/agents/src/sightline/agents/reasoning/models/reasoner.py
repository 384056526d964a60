"""What recursive reasoners share: latents that are carried on, one segment of updates, and what is read from them.

This module knows nothing of training. Axis letters: B questions, L cells, D width, V tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.agents.reasoning.config import PlainConfig, RecursiveConfig
from sightline.agents.reasoning.models.layers import Stack, TensorFn, matrix

_HALT_BIAS = -5.0
# A halting head that began undecided would stop every question at once.


@dataclass(frozen=True)
class Latents:
    """What a reasoner carries from segment to segment.

    Attributes:
        answer: y, [L, B, D], the present answer.
        latent: z, [L, B, D], scratch space; [0, B, D] where a model has none.
    """

    answer: Tensor
    latent: Tensor

    def detach(self) -> Latents:
        """Return the same numbers without a graph."""
        return Latents(self.answer.detach(), self.latent.detach())

    def rows(self, index: Tensor) -> Latents:
        """Return the latents of some questions; `index` is a mask [B] or row numbers."""
        return Latents(self.answer[:, index], self.latent[:, index])

    def replaced(self, index: Tensor, other: Latents) -> Latents:
        """Return a copy in which some questions, by row number, have the latents of `other`."""
        return Latents(
            self.answer.index_copy(1, index, other.answer.to(self.answer.dtype)),
            self.latent.index_copy(1, index, other.latent.to(self.latent.dtype)),
        )


@dataclass(frozen=True)
class CellOutput:
    """What a reasoner says after a segment.

    Attributes:
        logits: [B, L, V], of each cell's token.
        halt: [B], logit of "the answer is right".
        proceed: [B], logit of "right after going on", where the model has that head.
    """

    logits: Tensor
    halt: Tensor
    proceed: Tensor | None

    @property
    def margin(self) -> Tensor:
        """[B]; a question may halt where this is positive."""
        return self.halt if self.proceed is None else self.halt - self.proceed


class Reasoner(nn.Module):
    """Cells to tokens by way of latents: embeddings, a halting head and a head for the cells.

    Subclasses say how a segment updates the latents.
    """

    start_answer: Tensor
    start_latent: Tensor

    def __init__(self, config: RecursiveConfig | PlainConfig, networks: int) -> None:
        """Build the parts that all reasoners have.

        Args:
            config: sizes and seed.
            networks: how many stacks of blocks.
        """
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        width = config.width
        self.embedding = matrix(config.vocabulary, width, generator)
        self.position = matrix(config.length, width, generator)
        self.networks = nn.ModuleList(
            Stack(
                layers=config.layers,
                length=config.length,
                width=width,
                expansion=config.expansion,
                mixing=config.mixing,
                heads=config.heads,
                generator=generator,
            )
            for _ in range(networks)
        )
        self.cells = matrix(config.vocabulary, width, generator)
        decisions = 2 if isinstance(config, RecursiveConfig) and config.continue_head else 1
        self.halt_weight = nn.Parameter(torch.zeros(decisions, width))
        self.halt_bias = nn.Parameter(torch.full((decisions,), _HALT_BIAS))
        for name in ("start_answer", "start_latent"):
            self.register_buffer(name, nn.init.trunc_normal_(torch.empty(width), generator=generator))

    @abstractmethod
    def update(self, question: Tensor, latents: Latents) -> Latents:
        """Return the latents after one segment; `question` is embedded, [L, B, D]."""

    def initial(self, inputs: Tensor, dtype: torch.dtype | None = None) -> Latents:
        """Return the latents at which every question starts.

        Args:
            inputs: tokens, [B, L].
            dtype: arithmetic of the networks; default that of the weights.
        """
        batch, length = inputs.shape
        dtype = dtype or self.embedding.dtype
        shape = (length, batch, self.config.width)
        return Latents(self.start_answer.to(dtype).expand(shape), self.start_latent.to(dtype).expand(shape))

    def embed(self, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        """Return questions, [B, L], as vectors of unit size, [L, B, D]."""
        scale = (self.config.width / 2) ** 0.5
        cells = nn.functional.embedding(inputs.T, self.embedding) + self.position[:, None]
        return (scale * cells).to(dtype)

    def forward(self, inputs: Tensor, latents: Latents, dtype: torch.dtype | None = None) -> tuple[Latents, CellOutput]:
        """Go through one segment.

        Args:
            inputs: tokens, [B, L].
            latents: where the last segment, or `initial`, left off.
            dtype: arithmetic of the networks; default that of the weights.

        Returns:
            The new latents, still with their graph, and what is read from them, in the type of the weights.
        """
        dtype = dtype or self.embedding.dtype
        latents = self.update(self.embed(inputs, dtype), Latents(latents.answer.to(dtype), latents.latent.to(dtype)))
        return latents, self.read(latents)

    def read(self, latents: Latents) -> CellOutput:
        """Return cell and halting logits; halting sees the mean over cells, none of which is special."""
        answer = latents.answer.to(self.cells.dtype)
        logits = nn.functional.linear(answer, self.cells).transpose(0, 1)
        decisions = nn.functional.linear(answer.mean(dim=0), self.halt_weight, self.halt_bias)
        return CellOutput(logits, decisions[:, 0], decisions[:, 1] if decisions.shape[1] > 1 else None)


class RecursiveReasoner(Reasoner):
    """T times: n updates of the latent, then one of the answer."""

    config: RecursiveConfig

    def initial(self, inputs: Tensor, dtype: torch.dtype | None = None) -> Latents:
        """Return the latents at which every question starts; without re-injection the question is in the answer."""
        start = super().initial(inputs, dtype)
        if self.config.reinject:
            return start
        return Latents(start.answer + self.embed(inputs, start.answer.dtype), start.latent)

    def update(self, question: Tensor, latents: Latents) -> Latents:
        """Go through a segment; only the part that `config.gradient` names leaves a graph."""
        config = self.config
        update_latent, update_answer = self.functions(question.dtype)
        answer, latent = latents.answer, latents.latent
        learning = torch.is_grad_enabled()
        for cycle in range(config.cycles):
            last_cycle = cycle == config.cycles - 1
            for step in range(config.updates):
                last = last_cycle and step == config.updates - 1
                learns = {"full": True, "last_cycle": last_cycle, "one_step": last}[config.gradient]
                with torch.set_grad_enabled(learning and learns):
                    latent = update_latent(latent + answer + question if config.reinject else latent + answer)
            with torch.set_grad_enabled(learning and (last_cycle or config.gradient == "full")):
                answer = update_answer(answer + latent)
        return Latents(answer, latent)

    @abstractmethod
    def functions(self, dtype: torch.dtype) -> tuple[TensorFn, TensorFn]:
        """Return the networks that update the latent and the answer."""
