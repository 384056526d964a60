from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.actors.lexical import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.bounds import expert_target, oracle_gated, random_gated, random_scores
from sightline.agents.reading.pages import page_chunks
from sightline.agents.reading.scorers import instruction_similarity
from sightline.agents.records import Event, Situation
from sightline.retrieval import ChunkingConfig, HashingEncoder

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


@given(st.integers(0, len(PRODUCTS) - 1), st.integers(1, 4))
def test_the_oracle_always_shows_the_target(target: int, top_k: int) -> None:
    agent = oracle_gated(LexicalActor(webshop_grammar), ENCODER, webshop_grammar, top_k=top_k, chunking=CHUNKING)
    (decision,) = agent.choose([situation(target=target)])
    read = [chunk.text for chunk in decision.attention if chunk.selected]
    assert len(read) == top_k
    assert any(PRODUCTS[target] in text for text in read)


def test_the_oracle_without_an_expert_says_what_is_missing() -> None:
    scorer = expert_target(ENCODER, webshop_grammar)
    with pytest.raises(ValueError, match="give roll_out an expert"):
        scorer([Situation(TASK, (Event("OBS", "page"),), ("click[a]",))], [["a chunk"]])


def test_random_chunks_depend_on_the_seed_and_on_the_episode() -> None:
    def chosen(seed: int, turns: int) -> list[bool]:
        agent = random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=seed, top_k=3, chunking=CHUNKING)
        return [chunk.selected for chunk in agent.choose([situation(turns=turns)])[0].attention]

    assert chosen(0, 0) == chosen(0, 0)
    assert chosen(0, 0) != chosen(1, 0)
    assert chosen(0, 0) != chosen(0, 1)


def test_random_scores_are_uniform_and_pinned() -> None:
    (scores,) = random_scores(7)([situation(turns=1)], [["chunk"] * 4])
    np.testing.assert_allclose(
        scores, [0.8712831968082174, 0.3264911628457431, 0.2559583020496795, 0.8751097433838226], atol=1e-12
    )
    (many,) = random_scores(7)([situation()], [["chunk"] * 4000])
    assert 0 <= many.min() < many.max() < 1
    assert abs(many.mean() - 0.5) < 0.02


def test_the_oracle_orders_what_is_left_by_nearness_to_the_instruction() -> None:
    chunks = page_chunks(PAGE, TASK, webshop_grammar, CHUNKING)
    one = situation(target=3)
    (scores,), (nearness,) = (
        expert_target(ENCODER, webshop_grammar)([one], [chunks]),
        instruction_similarity(ENCODER)([one], [chunks]),
    )
    lead = scores - nearness
    assert lead.tolist() == pytest.approx([0, 0, 0, 0, 2, 0, 0])


def test_all_chunks_with_the_target_lead_and_without_one_nothing_does() -> None:
    one = Situation(TASK, (Event("OBS", PAGE),), ("click[red]",), "click[red]")
    for chunks, lead in ((["a red desk", "a red sofa", "a lamp"], [2, 2, 0]), (["a desk", "a sofa"], [0, 0])):
        (scores,) = expert_target(ENCODER, webshop_grammar)([one], [chunks])
        (nearness,) = instruction_similarity(ENCODER)([one], [chunks])
        assert (scores - nearness).tolist() == pytest.approx(lead)
