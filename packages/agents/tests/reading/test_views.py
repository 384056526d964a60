from __future__ import annotations

import numpy as np
import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.views import full_page, remembering, top_chunks
from sightline.agents.records import Event, Situation
from sightline.retrieval import ChunkingConfig

CHUNKING = ChunkingConfig(min_characters=1)
PAGE = "Instruction:\na lamp\n[button] Back [button_]\n\none\n\ntwo\n\nthree"
EVENTS = (Event("OBS", "an old page"), Event("ACT", "click[old]"), Event("OBS", PAGE))
SITUATION = Situation("a lamp", EVENTS, ("click[a]",))


def fixed(*scores: float):
    return lambda situations, chunks: [np.array(scores) for _ in situations]


def test_the_whole_page_is_read_without_the_instruction_after_its_history() -> None:
    (reading,) = full_page(webshop_grammar, history_turns=1, history_characters=6)([SITUATION])
    assert reading.context == ("[button] Back [button_]\n\none\n\ntwo\n\nthree",)
    assert reading.history == (("an ...", "click[old]"),)
    assert reading.attention == ()
    (alone,) = full_page(webshop_grammar, history_turns=0, history_characters=6)([SITUATION])
    assert alone.history == ()


def test_the_best_chunks_are_read_best_first_or_in_page_order_and_all_are_recorded() -> None:
    view = top_chunks(fixed(0.1, 0.9, 0.2, 0.8), webshop_grammar, top_k=2, chunking=CHUNKING)
    (reading,) = view([SITUATION])
    assert reading.context == ("one", "three")
    ordered = top_chunks(fixed(0.1, 0.7, 0.2, 0.8), webshop_grammar, top_k=2, chunking=CHUNKING)
    assert ordered([SITUATION])[0].context == ("three", "one")
    in_page_order = top_chunks(fixed(0.1, 0.7, 0.2, 0.8), webshop_grammar, top_k=2, chunking=CHUNKING, by_rank=False)
    assert in_page_order([SITUATION])[0].context == ("one", "three")
    assert [(chunk.text, chunk.score, chunk.selected) for chunk in reading.attention] == [
        ("[button] Back [button_]", 0.1, False),
        ("one", 0.9, True),
        ("two", 0.2, False),
        ("three", 0.8, True),
    ]


def test_equal_scores_go_to_the_earlier_chunk() -> None:
    (reading,) = top_chunks(fixed(0.0, 1.0, 1.0, 1.0), webshop_grammar, top_k=2, chunking=CHUNKING)([SITUATION])
    assert reading.context == ("one", "two")


def test_a_page_of_few_chunks_is_read_in_full() -> None:
    (reading,) = top_chunks(fixed(4.0, 3.0, 2.0, 1.0), webshop_grammar, top_k=9, chunking=CHUNKING)([SITUATION])
    assert len(reading.context) == 4


def test_chunks_are_read_until_the_budget_is_spent_and_one_is_always_read() -> None:
    scores = fixed(0.1, 0.9, 0.2, 0.8)
    for budget, shown in ((1, ("one",)), (2, ("one", "three")), (3, ("one", "three", "two"))):
        (reading,) = top_chunks(scores, webshop_grammar, budget=budget, chunking=CHUNKING)([SITUATION])
        assert reading.context == shown
    (dear,) = top_chunks(fixed(9.0, 0.9, 0.2, 0.8), webshop_grammar, budget=1, chunking=CHUNKING)([SITUATION])
    assert dear.context == ("[button] Back [button_]",)


def test_any_view_can_be_made_to_remember() -> None:
    events = (Event("OBS", "WebShop"), Event("ACT", "search[lamp]"), Event("OBS", PAGE))
    view = remembering(
        top_chunks(fixed(0.1, 0.9, 0.2, 0.8), webshop_grammar, top_k=1, chunking=CHUNKING), webshop_grammar
    )
    (reading,) = view([Situation("a lamp", events, ("click[a]",))])
    assert (reading.context, reading.memory) == (("one",), ("searched lamp",))


def test_no_chunk_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        top_chunks(fixed(), webshop_grammar, top_k=0, chunking=CHUNKING)
    with pytest.raises(ValueError, match="needs top_k, or a budget"):
        top_chunks(fixed(), webshop_grammar, chunking=CHUNKING)
