from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.agents.reading.conditions import condition_dimension, condition_vectors, situation_conditions
from sightline.agents.reading.types import QueryFrom
from sightline.agents.records import Event, Situation
from sightline.agents.state.config import StateModelConfig
from sightline.agents.state.model import RecurrentStateModel
from sightline.retrieval import HashingEncoder

PARTS = {
    "state": [[1.0, 2.0], [3.0, 4.0]],
    "instruction": [[5.0], [6.0]],
    "both": [[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]],
}


@pytest.mark.parametrize("query_from", ["state", "instruction", "both"])
def test_a_condition_is_the_chosen_parts_the_state_first(query_from: QueryFrom) -> None:
    states, instructions = torch.tensor(PARTS["state"]), torch.tensor(PARTS["instruction"])
    conditions = condition_vectors(query_from, states, instructions)
    assert conditions.tolist() == PARTS[query_from]
    assert conditions.shape[1] == condition_dimension(query_from, 2, 1)


def test_a_situations_condition_is_the_state_after_its_last_event_and_its_instruction_and_can_be_trained() -> None:
    torch.manual_seed(0)
    encoder = HashingEncoder(8)
    model = RecurrentStateModel(
        StateModelConfig(text_dimension=8, event_dimension=4, state_dimension=3, action_types=("search", "open"))
    )
    events = (Event("OBS", "a page"), Event("ACT", "click[a]"), Event("OBS", "another page"))
    situations = [Situation("a lamp", events, ("click[b]",)), Situation("a desk", events[:1], ("click[b]",))]
    conditions = situation_conditions(situations, encoder, model, "both")
    for situation, condition in zip(situations, conditions, strict=True):
        batch = model.encode_events(encoder, [situation.events])
        last = model(batch.text_embeddings, batch.kinds, batch.lengths).states[0, -1]
        np.testing.assert_allclose(condition[:3].detach(), last.detach(), atol=1e-6)
        np.testing.assert_allclose(condition[3:].detach(), encoder.encode([situation.instruction])[0], atol=1e-6)
    conditions[:, :3].sum().backward()
    assert all(parameter.grad is not None for parameter in model.gru.parameters())
