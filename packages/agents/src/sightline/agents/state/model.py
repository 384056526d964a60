"""A recurrent model of an episode: frozen text embeddings of its events, a GRU, and next-action-type heads.

This module knows nothing of environments, of how trajectories are stored, or of how the model is trained.

Axes: B sequences, T events, A action types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sightline.agents.records import Event
from sightline.agents.state.config import StateModelConfig
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError, parse_record

if TYPE_CHECKING:
    from sightline.retrieval import TextEncoder

OBSERVATION_KIND, ACTION_KIND = 0, 1


@dataclass(frozen=True)
class EventBatch:
    """Event sequences as tensors, padded at the end with zeros."""

    text_embeddings: Tensor
    """float32 [B, T, text_dimension]."""
    kinds: Tensor
    """int64 [B, T], `OBSERVATION_KIND` or `ACTION_KIND`."""
    lengths: Tensor
    """int64 [B], each from 1 to T."""

    def select(self, rows: Tensor) -> EventBatch:
        """Return some of the sequences, padded no further than the longest of them needs."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        return EventBatch(self.text_embeddings[rows, :longest], self.kinds[rows, :longest], lengths)

    def to(self, device: torch.device | str) -> EventBatch:
        """Return the same batch on another device."""
        return EventBatch(self.text_embeddings.to(device), self.kinds.to(device), self.lengths.to(device))


@dataclass(frozen=True)
class StateOutputs:
    """What the model says after each event; zero beyond a sequence's length."""

    states: Tensor
    """[B, T, state_dimension] summary of the events so far."""
    action_logits: Tensor
    """[B, T, A] type of the next action, from the state."""
    last_observation_logits: Tensor
    """[B, T, A] the same from the latest observation alone: the baseline without memory."""


class EventEncoder(nn.Module):
    """Turns frozen text embeddings and event kinds into event vectors."""

    def __init__(self, config: StateModelConfig) -> None:
        super().__init__()
        self.text_projection = nn.Linear(config.text_dimension, config.event_dimension)
        self.kind_embedding = nn.Embedding(2, config.event_dimension)
        self.norm = nn.LayerNorm(config.event_dimension)

    def forward(self, text_embeddings: Tensor, kinds: Tensor) -> Tensor:
        """Map [B, T, text_dimension] and [B, T] to [B, T, event_dimension]."""
        return self.norm(self.text_projection(text_embeddings) + self.kind_embedding(kinds))


class RecurrentStateModel(nn.Module):
    """GRU over event vectors with a head for the type of the next action.

    A second head sees the embedding of the latest observation and nothing else. It shares no parameter with the rest,
    so its accuracy is what a learner without memory reaches on the same embeddings.

    Args:
        config: shape of the model, with at least one action type.

    Raises:
        ValueError: there are no action types.
    """

    def __init__(self, config: StateModelConfig) -> None:
        super().__init__()
        if not config.action_types:
            raise ValueError("a state model needs action_types for its heads, for example those of a TaskGrammar")
        self.config = config
        self.event_encoder = EventEncoder(config)
        self.gru = nn.GRU(config.event_dimension, config.state_dimension, batch_first=True)
        self.action_head = nn.Linear(config.state_dimension, len(config.action_types))
        self.last_observation_head = nn.Sequential(
            nn.Linear(config.text_dimension, config.state_dimension),
            nn.ReLU(),
            nn.Linear(config.state_dimension, len(config.action_types)),
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.action_head.weight.device

    def encode_events(self, encoder: TextEncoder, event_sequences: Sequence[Sequence[Event]]) -> EventBatch:
        """Embed event sequences with a frozen text encoder; every distinct text is encoded once.

        Args:
            encoder: encoder the model is trained with.
            event_sequences: B sequences, none empty.

        Returns:
            The batch, on the CPU.

        Raises:
            ValueError: no sequence, an empty one, or another encoder.
        """
        if not event_sequences or not all(event_sequences):
            raise ValueError("encode_events needs at least one event sequence and no empty one")
        if self.config.text_encoder not in (None, encoder.name):
            raise ValueError(
                f"the state model was trained with the text encoder {self.config.text_encoder!r} and cannot read the "
                f"vectors of {encoder.name!r}; use the former, or train the state model again"
            )
        if encoder.dimension != self.config.text_dimension:
            raise ValueError(
                f"the text encoder gives vectors of length {encoder.dimension}, "
                f"but the state model was made for {self.config.text_dimension}; set text_dimension"
            )
        clipped = [[event.text[: self.config.max_characters] for event in events] for events in event_sequences]
        row_of = {text: row for row, text in enumerate(dict.fromkeys(text for texts in clipped for text in texts))}
        table = torch.from_numpy(np.asarray(encoder.encode(list(row_of)), dtype=np.float32))
        lengths = torch.tensor([len(events) for events in event_sequences])
        shape = len(event_sequences), int(lengths.max())
        text_embeddings = torch.zeros(*shape, self.config.text_dimension)
        kinds = torch.zeros(shape, dtype=torch.int64)
        for i, (events, texts) in enumerate(zip(event_sequences, clipped, strict=True)):
            text_embeddings[i, : len(texts)] = table[[row_of[text] for text in texts]]
            kinds[i, : len(texts)] = torch.tensor(
                [OBSERVATION_KIND if event.kind == "OBS" else ACTION_KIND for event in events]
            )
        return EventBatch(text_embeddings, kinds, lengths)

    def forward(self, text_embeddings: Tensor, kinds: Tensor, lengths: Tensor) -> StateOutputs:
        """Return states and action logits after every event. The outputs of a sequence depend on that sequence alone.

        Args:
            text_embeddings: float32 [B, T, text_dimension].
            kinds: int64 [B, T].
            lengths: int64 [B].
        """
        positions = torch.arange(kinds.shape[1], device=kinds.device)
        inside = (positions < lengths[:, None])[..., None]
        # The GRU only looks back, so padding at the end cannot reach the events before it.
        states, _ = self.gru(self.event_encoder(text_embeddings, kinds))
        latest_observation = torch.where(kinds == OBSERVATION_KIND, positions, 0).cummax(dim=1).values
        rows = torch.arange(kinds.shape[0], device=kinds.device)[:, None]
        last_observation_logits = self.last_observation_head(text_embeddings.detach()[rows, latest_observation])
        return StateOutputs(states * inside, self.action_head(states) * inside, last_observation_logits * inside)

    def final_states(self, batch: EventBatch) -> Tensor:
        """Return the state after each sequence's last event: [B, state_dimension], on the model's device."""
        batch = batch.to(self.device)
        states, _ = self.gru(self.event_encoder(batch.text_embeddings, batch.kinds))
        return states[torch.arange(len(batch.lengths), device=self.device), batch.lengths - 1]

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`, each atomically, the second only when the first is there."""
        weights = {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}
        with atomic_file(folder / "model.safetensors") as file:
            file.write(safetensors.torch.save(weights))
        with atomic_file(folder / "config.json") as file:
            file.write(self.config.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load what `save_pretrained` wrote, on the CPU.

        Raises:
            FileNotFoundError: a file is missing.
            RecordError: a file is damaged, or the two do not belong together.
        """
        remedy = "Train the state model again."
        config_file, weights_file = folder / "config.json", folder / "model.safetensors"
        config = parse_record(StateModelConfig, config_file.read_bytes(), where=str(config_file), remedy=remedy)
        try:
            model = cls(config)
            model.load_state_dict(safetensors.torch.load(weights_file.read_bytes()))
        except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
            raise RecordError(
                f"{weights_file} does not hold the weights of {config_file}: {error}. {remedy}"
            ) from error
        return model
