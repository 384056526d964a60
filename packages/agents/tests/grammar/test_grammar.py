from __future__ import annotations

import pickle
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

import sightline.agents.grammar
from sightline.agents.grammar import TaskGrammar, webshop_grammar
from sightline.retrieval import ChunkingConfig

(GRAMMARS,) = (Path(path) for path in sightline.agents.grammar.__path__)
SHOP_WORDS = re.compile(r"shop|buy now|\basin\b|amazon|price (?:lower|clause)|has_search_bar|next >", re.IGNORECASE)


def kind(action: str) -> str:
    return action.partition(" ")[0]


def nothing(*arguments: object) -> tuple[()]:
    return ()


def only(*arguments: object) -> str:
    return "any"


PLAIN = TaskGrammar(
    name="plain",
    role="You play.",
    action_types=("say", "go"),
    action_type=kind,
    free_text_types=frozenset({"say"}),
    candidate_actions=nothing,
    target_chunks=nothing,
    page_kinds=("any",),
    page_kind=only,
    endings=("any",),
    ending=only,
)


def test_without_more_a_page_is_read_as_it_is() -> None:
    page = "one line\n\nanother"
    assert PLAIN.page_text(page, "one line") == page
    assert PLAIN.cut_page(page, ChunkingConfig()) == ("one line", "another")
    assert PLAIN.abbreviate(page, ["a", "b"]) == ["a", "b"]
    assert PLAIN.task_text(" find\n the  door ") == "find the door"
    assert PLAIN.action_words("go north", ["north"]) == "go north"
    assert (PLAIN.markers, PLAIN.stop_words) == ((), frozenset())


def test_free_text_is_told_by_the_type_of_the_action() -> None:
    assert PLAIN.is_free_text("say hello")
    assert not PLAIN.is_free_text("go north")
    assert webshop_grammar.is_free_text("search[lamp]")
    assert not webshop_grammar.is_free_text("click[lamp]")
    with pytest.raises(ValueError, match="no action"):
        webshop_grammar.is_free_text("lamp")


def test_a_grammar_is_frozen_and_can_be_sent_to_another_process() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAIN.name = "other"  # ty: ignore[invalid-assignment] - that is the point
    assert pickle.loads(pickle.dumps(webshop_grammar)) == webshop_grammar  # noqa: S301 - our own bytes
    assert replace(webshop_grammar, name="other") != webshop_grammar


def test_no_module_but_its_grammar_knows_the_shop() -> None:
    for file in GRAMMARS.parent.rglob("*.py"):
        if file not in (GRAMMARS / "webshop.py", GRAMMARS / "shop_pages.py", GRAMMARS / "first_hit.py"):
            found = SHOP_WORDS.search(file.read_text(encoding="utf-8"))
            assert found is None, f"{file.relative_to(GRAMMARS.parent)} speaks of {found[0]!r}"
    assert SHOP_WORDS.search((GRAMMARS / "webshop.py").read_text(encoding="utf-8"))
