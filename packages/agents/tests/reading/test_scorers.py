from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.conditions import condition_dimension, situation_conditions
from sightline.agents.reading.pages import page_chunks
from sightline.agents.reading.scorers import instruction_similarity, state_conditioned
from sightline.agents.records import Event, Situation
from sightline.agents.state.config import StateModelConfig
from sightline.agents.state.model import RecurrentStateModel
from sightline.retrieval import ChunkingConfig, HashingEncoder, StateConditionedRetriever

CHUNKING = ChunkingConfig(max_characters=200, min_characters=5)
ENCODER = HashingEncoder(64)
TASK = "find a blue lamp made of glass"
PRODUCTS = ("red wool scarf", "blue glass lamp", "green lamp of glass", "oak desk", "blue cotton sheet", "steel kettle")
PAGE = f"Instruction:\n{TASK}\n[button] Back to Search [button_]\n\n" + "\n\n".join(
    f"[button] b{number:09} [button_]\n{product}" for number, product in enumerate(PRODUCTS)
)


def situation(*, target: int = 1, turns: int = 0, task: str = TASK) -> Situation:
    before = [
        event
        for turn in range(turns)
        for event in (Event("OBS", f"an old page {turn}"), Event("ACT", f"click[old {turn}]"))
    ]
    actions = tuple(f"click[b{number:09}]" for number in range(len(PRODUCTS)))
    return Situation(task, (*before, Event("OBS", PAGE)), actions, f"click[b{target:09}]")


@pytest.fixture(scope="module")
def state_model() -> RecurrentStateModel:
    torch.manual_seed(0)
    return RecurrentStateModel(
        StateModelConfig(text_dimension=64, event_dimension=16, state_dimension=12, action_types=("search", "open"))
    )


def test_query_rag_ranks_by_the_cosine_with_the_instruction() -> None:
    chunks = page_chunks(PAGE, TASK, webshop_grammar, CHUNKING)
    (scores,) = instruction_similarity(ENCODER)([situation()], [chunks])
    expected = ENCODER.encode(chunks) @ ENCODER.encode([TASK])[0]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_equal_chunks_of_two_pages_keep_to_their_page() -> None:
    both = instruction_similarity(ENCODER)([situation(), situation(task="oak desk")], [["oak desk"], ["oak desk"]])
    assert both[0][0] < both[1][0]


def test_the_state_gate_depends_on_what_happened_before(state_model: RecurrentStateModel) -> None:
    scorer = state_conditioned(ENCODER, state_model, StateConditionedRetriever(12, 64), "state")
    chunks = page_chunks(PAGE, TASK, webshop_grammar, CHUNKING)
    without, with_history = scorer([situation(), situation(turns=2)], [chunks, chunks])
    assert not np.allclose(without, with_history)


def test_the_state_gate_ignores_the_instruction_outside_the_events_unless_asked(
    state_model: RecurrentStateModel,
) -> None:
    events = (Event("OBS", "a page"),)
    pair = [Situation(task, events, ("click[a]",)) for task in ("a lamp", "a desk")]
    chunks = [["oak desk", "glass lamp"]] * 2
    for query_from, alike in (("state", True), ("both", False)):
        retriever = StateConditionedRetriever(condition_dimension(query_from, 12, 64), 64)
        first, second = state_conditioned(ENCODER, state_model, retriever, query_from)(pair, chunks)
        assert np.allclose(first, second, atol=1e-6) == alike


def test_both_models_act_in_evaluation_mode_and_scores_are_the_retrievers(state_model: RecurrentStateModel) -> None:
    retriever = StateConditionedRetriever(12, 64)
    state_model.train()
    scorer = state_conditioned(ENCODER, state_model, retriever, "state")
    assert not state_model.training
    assert not retriever.training
    pages = [["oak desk", "glass lamp", "red scarf"], ["oak desk"]]
    found = scorer([situation(), situation(turns=1)], pages)
    conditions = situation_conditions([situation(), situation(turns=1)], ENCODER, state_model, "state")
    for row, texts, condition in zip(found, pages, conditions, strict=True):
        embeddings = torch.tensor(ENCODER.encode(texts))
        alone = retriever.scores(condition[None], embeddings[None], torch.ones(1, len(texts), dtype=torch.bool))
        np.testing.assert_allclose(row, alone[0].detach().numpy(), atol=1e-6)


def test_a_retriever_of_another_encoder_is_refused(state_model: RecurrentStateModel) -> None:
    retriever = StateConditionedRetriever(12, 64, text_encoder="another")
    with pytest.raises(ValueError, match="another"):
        state_conditioned(ENCODER, state_model, retriever, "state")
