"""What a retriever is conditioned on, in training as in acting: the state of the episode, the instruction, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from sightline.agents.reading.types import QueryFrom
from sightline.agents.records import Situation

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.agents.state.model import RecurrentStateModel
    from sightline.retrieval import TextEncoder


def situation_conditions(
    situations: Sequence[Situation], encoder: TextEncoder, state_model: RecurrentStateModel, query_from: QueryFrom
) -> Tensor:
    """Return what the retriever is conditioned on, in training as in acting.

    Gradients reach the state model unless they are switched off.

    Returns:
        `[B, condition_dimension(query_from, d_state, d_text)]` float32, on the state model's device.
    """
    states = state_model.final_states(state_model.encode_events(encoder, [s.events for s in situations]))
    instructions = torch.tensor(encoder.encode([situation.instruction for situation in situations]))
    return condition_vectors(query_from, states, instructions.to(states.device))


def condition_vectors(query_from: QueryFrom, states: Tensor, instructions: Tensor) -> Tensor:
    """Put the chosen parts side by side.

    Args:
        query_from: parts to use.
        states: `[B, d_state]` final states of the event sequences.
        instructions: `[B, d_text]` embeddings of the instructions.

    Returns:
        `[B, condition_dimension(query_from, d_state, d_text)]`.
    """
    if query_from == "state":
        return states
    if query_from == "instruction":
        return instructions
    return torch.cat([states, instructions], dim=1)


def condition_dimension(query_from: QueryFrom, d_state: int, d_text: int) -> int:
    """Return the width of `condition_vectors`."""
    return {"state": d_state, "instruction": d_text, "both": d_state + d_text}[query_from]
