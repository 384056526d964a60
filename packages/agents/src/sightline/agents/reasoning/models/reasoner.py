"""What recursive reasoners share: latents that are carried on, one segment of updates, and what is read from them.

This module knows nothing of training. Axis letters: B questions, L cells, D width, V tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.agents.reasoning.config import HRMConfig, PlainConfig, RecursiveConfig, TRMConfig
from sightline.agents.reasoning.models.answers import Answers
from sightline.agents.reasoning.models.heads import CellHead, HaltHead, Output, PolicyValueHead
from sightline.agents.reasoning.models.layers import Stack, TensorFn, matrix
from sightline.agents.reasoning.models.pretrained import model_card, read_config, read_weights, write_reasoner
from sightline.agents.reasoning.puzzles.names import puzzle_task
from sightline.retrieval.jsonl import RecordError


@dataclass(frozen=True)
class Latents:
    """What a reasoner carries from segment to segment."""

    answer: Tensor
    """Y, [L, B, D], the present answer."""
    latent: Tensor
    """Z, [L, B, D], scratch space; [0, B, D] where a model has none."""

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


class Reasoner(nn.Module):
    """Cells to tokens, or to a policy and a value, by way of latents: embeddings, networks and heads.

    Subclasses say how a segment updates the latents.
    """

    config_type: ClassVar[type[TRMConfig | HRMConfig | PlainConfig]]
    stacks: ClassVar[int] = 1
    """Networks, each of `config.layers` blocks."""
    carries: ClassVar[bool] = True
    """Whether a further segment can change the answer."""

    start_answer: Tensor
    start_latent: Tensor

    def __init__(self, config: TRMConfig | HRMConfig | PlainConfig) -> None:
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
            for _ in range(self.stacks)
        )
        self.head = (
            CellHead(config.vocabulary, width, generator)
            if config.actions is None
            else PolicyValueHead(config.actions, config.length, width, generator)
        )
        self.halt = HaltHead(2 if isinstance(config, RecursiveConfig) and config.continue_head else 1, width)
        for name in ("start_answer", "start_latent"):
            self.register_buffer(name, nn.init.trunc_normal_(torch.empty(width), generator=generator))

    @abstractmethod
    def update(self, question: Tensor, latents: Latents) -> Latents:
        """Return the latents after one segment; `question` is embedded, [L, B, D]."""

    def network(self, index: int, dtype: torch.dtype) -> TensorFn:
        """Return one of the networks as a function of [L, B, D] tensors."""
        stack = self.networks[index]
        assert isinstance(stack, Stack)
        return stack.at(dtype)

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

    def forward(self, inputs: Tensor, latents: Latents, dtype: torch.dtype | None = None) -> tuple[Latents, Output]:
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

    @torch.inference_mode()
    def solve(self, puzzles: NDArray[np.integer], *, max_steps: int = 16, check: bool = True) -> Answers:
        """Answer puzzles of the task that the model was made for.

        Each puzzle leaves the batch once the model's confidence reaches `config.halt_threshold`; one that never does
        gets the answer of its most confident segment.

        Args:
            puzzles: integers, [B, L].
            max_steps: most segments.
            check: ask first, with an exact solver, that each puzzle has exactly one answer.

        Raises:
            PuzzleError: a puzzle is malformed, or contradictory or ambiguous; the message names example and cell.
            ValueError: `max_steps` is not positive.
        """
        if max_steps < 1:
            raise ValueError(f"max_steps must be positive, not {max_steps}")
        task = puzzle_task(self.config.task)
        given = task.check(puzzles, unique=check)
        threshold = self.config.halt_threshold or 1.0
        cells, steps = given.copy(), np.zeros(len(given), dtype=np.int64)
        confidence = np.full(len(given), -1, dtype=np.float32)
        waiting = np.arange(len(given))
        inputs = torch.from_numpy(given).to(self.embedding.device)
        latents = self.initial(inputs)
        for step in range(1, (max_steps if self.carries else 1) + 1):
            if not len(waiting):
                break
            latents, output = self(inputs, latents)
            sure = output.halt.sigmoid().float().cpu().numpy()
            better = waiting[sure > confidence[waiting]]
            answer = output.logits.argmax(dim=-1).cpu().numpy()[sure > confidence[waiting]]
            cells[better] = np.where(task.asked(given[better]), answer, given[better])
            confidence[waiting] = np.maximum(confidence[waiting], sure)
            steps[waiting] = step
            left = sure < threshold
            rows = torch.from_numpy(np.flatnonzero(left)).to(inputs.device)
            inputs, latents, waiting = inputs[rows], latents.rows(rows), waiting[left]
        return Answers(cells, task.is_solution(given, cells), steps, confidence)

    def save_pretrained(self, folder: Path | str, *, training: str = "") -> None:
        """Write configuration, weights and model card.

        Args:
            folder: where to.
            training: training for the card: how the model was made and how well it does, in Markdown.
        """
        parameters = sum(parameter.numel() for parameter in self.parameters())
        write_reasoner(Path(folder), self.config, self, model_card(self.config, parameters, training))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """Load what `save_pretrained` wrote.

        Raises:
            FileNotFoundError: the folder holds no model.
            RecordError: it is damaged, or another kind of model.
        """
        config = read_config(Path(folder))
        if not isinstance(config, cls.config_type):
            raise RecordError(f"{folder} holds a model of kind {config.kind!r}, which {cls.__name__} cannot be")
        model = cls(config)
        read_weights(Path(folder), model)
        return model.eval()

    def read(self, latents: Latents) -> Output:
        """Return what an answer says, in the type of the weights."""
        answer = latents.answer.to(self.embedding.dtype)
        logits, value = self.head(answer)
        decisions = self.halt(answer)
        return Output(logits, value, decisions[:, 0], decisions[:, 1] if decisions.shape[1] > 1 else None)


class RecursiveReasoner(Reasoner):
    """T times: n updates of the latent by the first network, then one of the answer by the last."""

    def initial(self, inputs: Tensor, dtype: torch.dtype | None = None) -> Latents:
        """Return the latents at which every question starts; without re-injection the question is in the answer."""
        start = super().initial(inputs, dtype)
        if self._recursion.reinject:
            return start
        return Latents(start.answer + self.embed(inputs, start.answer.dtype), start.latent)

    def update(self, question: Tensor, latents: Latents) -> Latents:
        """Go through a segment; only the part that `config.gradient` names leaves a graph."""
        config = self._recursion
        update_latent = self.network(0, question.dtype)
        update_answer = update_latent if self.stacks == 1 else self.network(1, question.dtype)
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

    @property
    def _recursion(self) -> RecursiveConfig:
        assert isinstance(self.config, RecursiveConfig)
        return self.config
