from __future__ import annotations

from dataclasses import replace

from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.pages import page_chunks
from sightline.retrieval import ChunkingConfig

RESULTS = "Instruction:\na lamp\n[button] Back [button_]\n\n[button] B000000001 [button_]\na blue lamp"


def test_chunks_leave_the_instruction_out() -> None:
    chunks = page_chunks(RESULTS, "a lamp", webshop_grammar, ChunkingConfig())
    assert chunks == ("[button] Back [button_]", "[button] B000000001 [button_]\na blue lamp")
    assert page_chunks(RESULTS, "a desk", webshop_grammar, ChunkingConfig())[0].startswith("Instruction:")


def test_chunks_are_no_longer_than_asked() -> None:
    chunks = page_chunks("word " * 100, "a lamp", webshop_grammar, ChunkingConfig(max_characters=50))
    assert len(chunks) == 10
    assert max(map(len, chunks)) <= 50


def test_the_grammar_says_how_a_page_is_cut() -> None:
    by_line = replace(webshop_grammar, cut_page=lambda page, _: tuple(page.split("\n")))
    assert page_chunks("a\nb\n\nc", "", by_line, ChunkingConfig()) == ("a", "b", "", "c")
