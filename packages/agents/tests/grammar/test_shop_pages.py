from __future__ import annotations

from sightline.agents.grammar import webshop_grammar
from sightline.agents.grammar.shop_pages import cut_shop_page, shop_memory
from sightline.agents.records import Event
from sightline.retrieval import ChunkingConfig

RESULTS = """[button] Back to Search [button_]
Page 1 (Total results: 50)
[button] Next > [button_]

[button] B0AAAAAAAA [button_]
Desk Lamp, Dimmable
$9

[clicked button] B0BBBBBBBB [clicked button_]
Floor Lamp
$10.0 to $12.0
"""
ITEM = """You have clicked s.
[button] Back to Search [button_]
[button] < Prev [button_]
size
  [clicked button] s [clicked button_]
  [button] m [button_]
color
  [button] red [button_]
Desk Lamp, Dimmable
Price: $9
Rating: N.A.
[button] Description [button_]
[button] Buy Now [button_]
"""


def test_a_product_keeps_its_title_price_and_number_and_an_option_group_its_header_and_choice() -> None:
    assert cut_shop_page(RESULTS, ChunkingConfig())[1:] == (
        "[button] B0AAAAAAAA [button_]\nDesk Lamp, Dimmable\n$9",
        "[clicked button] B0BBBBBBBB [clicked button_]\nFloor Lamp\n$10.0 to $12.0",
    )
    assert cut_shop_page(ITEM, ChunkingConfig()) == (
        "[button] Back to Search [button_]\n[button] < Prev [button_]",
        "size\n  [clicked button] s [clicked button_]\n  [button] m [button_]",
        "color\n  [button] red [button_]",
        "Desk Lamp, Dimmable\nPrice: $9\nRating: N.A.",
        "[button] Description [button_]\n[button] Buy Now [button_]",
    )


def test_every_part_of_a_long_option_group_begins_with_its_header_and_no_value_is_lost() -> None:
    values = [f"  [button] value number {number} [button_]" for number in range(60)]
    chunks = cut_shop_page("\n".join(["color", *values]), ChunkingConfig(max_characters=300))
    assert len(chunks) > 5
    assert all(chunk.startswith("color\n") and len(chunk) <= 300 for chunk in chunks)
    assert [line for chunk in chunks for line in chunk.splitlines() if line != "color"] == values


def test_on_a_long_page_every_paragraph_feature_and_review_is_a_part_of_its_own() -> None:
    said = ["Description: One.", "Description: Two.", "Feature: Three.", "Review: Four. Five.", "Review: Six."]
    page = (
        "color\n  [button] red [button_]\nDesk Lamp\nPrice: $9\n\n" + "\n\n".join(said) + "\n[button] Buy Now [button_]"
    )
    assert cut_shop_page(page, ChunkingConfig(max_characters=300)) == (
        "color\n  [button] red [button_]",
        "Desk Lamp\nPrice: $9",
        *said,
        "[button] Buy Now [button_]",
    )


def test_a_long_text_is_cut_and_an_empty_page_has_no_parts() -> None:
    chunks = cut_shop_page("[button] < Prev [button_]\n" + "A sentence. " * 60, ChunkingConfig(max_characters=100))
    assert len(chunks) > 6
    assert max(map(len, chunks)) <= 100
    assert cut_shop_page("", ChunkingConfig()) == ()


def test_searches_opened_products_what_they_say_and_what_is_chosen_are_remembered() -> None:
    task = "a lamp"
    pages = ["WebShop", RESULTS, ITEM, f"Instruction:\n{task}\n[button] < Prev [button_]\nMade of oak.", ITEM]
    acts = ["search[lamp]", "click[b0aaaaaaaa]", "click[description]", "click[< prev]"]
    events = [Event("OBS", pages[0])]
    for act, page in zip(acts, pages[1:], strict=True):
        events += [Event("ACT", act), Event("OBS", page)]
    opened = "opened B0AAAAAAAA Desk Lamp, Dimmable, $9"
    assert shop_memory(events[:1], task) == ()
    assert shop_memory(events[:3], task) == ("searched lamp",)
    assert shop_memory(events[:5], task) == ("searched lamp", opened, "You have clicked s.")
    assert shop_memory(events, task) == ("searched lamp", f"{opened}; description: Made of oak.", "You have clicked s.")
    left = (*events, Event("ACT", "click[back to search]"), Event("OBS", "WebShop"))
    assert shop_memory(left, task) == ("searched lamp", f"{opened}; description: Made of oak.")


def test_only_products_and_options_must_have_been_read() -> None:
    named = ["search[lamp]", "click[next >]", "click[buy now]", "click[b0aaaaaaaa]", "click[red]"]
    assert [webshop_grammar.is_navigation(action) for action in named] == [True, True, True, False, False]
