"""The grammar of the shop: product pages with buttons, searches and clicks, in its rich text mode.

A shop page offers clicks but leaves the words of a search open; here an instruction's own words become a few search
proposals, so that every decision is a choice from a finite list. Pure functions over text; nothing else in this
package knows the shop.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sightline.agents.grammar.grammar import TaskGrammar, one_line
from sightline.agents.grammar.purchases import Purchase, PurchaseReader
from sightline.agents.grammar.shop_pages import CHOSEN, PRODUCT_NUMBER, cut_shop_page, shop_memory
from sightline.retrieval.conditioned import label_chunks

if TYPE_CHECKING:
    from sightline.agents.trajectory import Step


class ShopAction(StrEnum):
    """What an action in the shop does."""

    SEARCH = "search"
    CLICK_PRODUCT = "click_product"
    CLICK_OPTION = "click_option"
    CLICK_BUY = "click_buy"
    CLICK_NEXT = "click_next"
    CLICK_PREVIOUS = "click_previous"
    CLICK_BACK = "click_back"
    CLICK_SUBPAGE = "click_subpage"


class ShopPage(StrEnum):
    """What a page of the shop is for."""

    SEARCH = "search"
    RESULTS = "results"
    PRODUCT = "product"
    DETAIL = "detail"


class ShopEnding(StrEnum):
    """How a failed episode ended; the first that applies."""

    NEVER_FOUND = "never opened the right product"
    WRONG_OPTIONS = "bought it with wrong options"
    WRONG_PRODUCT = "bought another product"
    AS_EXPERT = "bought what the expert would have bought"
    OUT_OF_STEPS = "ran out of steps"


_HEADING = "instruction:"
_BUTTONS = {
    "buy now": ShopAction.CLICK_BUY,
    "next >": ShopAction.CLICK_NEXT,
    "< prev": ShopAction.CLICK_PREVIOUS,
    "back to search": ShopAction.CLICK_BACK,
    "description": ShopAction.CLICK_SUBPAGE,
    "features": ShopAction.CLICK_SUBPAGE,
    "reviews": ShopAction.CLICK_SUBPAGE,
    "attributes": ShopAction.CLICK_SUBPAGE,
}
_PRODUCT = re.compile(r"b0[0-9a-z]{8}|[0-9]{9}[0-9x]|#[0-9]+")

_PRICE_CLAUSE = re.compile(r",?\s*(?:and\s+)?price\s+(?:is\s+)?(?:lower|less|cheaper|under|below)\b.*", re.DOTALL)
_OPENING = re.compile(
    r"\s*(?:instruction\s*:)?\W*(?:(?:a|am|an|buy|can|d|find|for|get|give|help|i|im|like|look|looking|m|me|need|please|"
    r"search|searching|shopping|show|some|the|to|want|we|would|you)\b\W*)*"
)
_HEAD_ENDS_BEFORE = re.compile(r"(?<!\S)(?:with|that|which|for|in|has|have|having|made)(?!\S)")
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be but by can find for from get has have having i if im i'm in into is it its looking me "
        "my need of on or please should so some that the their then there these they this to want was we which will "
        "with would you your"
    )
)
_PROPOSALS = 3


# A page never says that it is time to buy: this stands between an option that the task names and one that it does not.
_SCORES = {ShopAction.SEARCH: 1.0, ShopAction.CLICK_BUY: 0.5}
_INSTRUCTION_STOP_WORDS = frozenset(
    ("a", "am", "an", "and", "for", "i", "in", "is", "lower", "of", "price", "than", "that", "the", "with")
)

_LABEL = re.compile(r"\[button\] (.*) \[button_\]")
_CLICKED = re.compile(r"\[clicked button\] (.*) \[clicked button_\]")
_AMOUNT = re.compile(r"\$(\d[\d,]*(?:\.\d+)?)")
_MAX_CHARACTERS = 20_000
_FURTHER_PAGES = ("description", "features", "attributes")  # reviews say nothing of what was asked for


def action_type(action: str) -> ShopAction:
    """Return the type of an action.

    A click on anything that is neither a button of the shop nor a product number (`b0` and eight letters or
    digits, an ISBN-10, or a label such as `#3` that stands for one in prompts) is a click on an option.

    Args:
        action: `search[words]` or `click[target]`; the target's letter case does not matter.

    Raises:
        ValueError: the action has neither form.
    """
    if action.startswith("search[") and action.endswith("]"):
        return ShopAction.SEARCH
    if not (action.startswith("click[") and action.endswith("]")):
        raise ValueError(f"{action!r} is no action; expected 'search[words]' or 'click[target]'")
    target = action[len("click[") : -1].lower()
    if target in _BUTTONS:
        return _BUTTONS[target]
    return ShopAction.CLICK_PRODUCT if _PRODUCT.fullmatch(target) else ShopAction.CLICK_OPTION


def propose_queries(instruction: str) -> tuple[str, ...]:
    """Propose search queries made of an instruction's own words, lower-cased, longest first.

    The first holds every telling word; the others only the thing itself ("desk lamp" of "a desk lamp that is
    quick release"). The price clause, opening phrase and stop words are left out.

    Args:
        instruction: what the user asked for.

    Returns:
        Up to three distinct queries: at least two when there are two telling words, and none only when the
        instruction has no word at all.
    """
    text = _OPENING.sub("", _PRICE_CLAUSE.sub("", instruction.lower()), count=1)
    words = _telling_words(text) or tuple(dict.fromkeys(_WORD.findall(instruction.lower())))
    head = _telling_words(_HEAD_ENDS_BEFORE.split(text, maxsplit=1)[0]) or words
    proposals = (words, head, head[-3:], head[-1:])
    return tuple(dict.fromkeys(" ".join(proposal) for proposal in proposals if proposal))[:_PROPOSALS]


def candidate_actions(instruction: str, available: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the actions an agent may choose from.

    Args:
        instruction: what the user asked for.
        available: the environment's `info["available_actions"]`: `has_search_bar` (bool) and `clickables`
            (list of str).

    Returns:
        The search proposals where the page has a search bar, then one click per clickable in page order. The
        button that submits the search bar is left out: clicking it does nothing.
    """
    searches = propose_queries(instruction) if available["has_search_bar"] else ()
    clicks = dict.fromkeys(f"click[{target}]" for target in available["clickables"] if target != "search")
    return (*(f"search[{query}]" for query in searches), *clicks)


def task_text(instruction: str) -> str:
    """Return the instruction on one line, without its heading."""
    return one_line(instruction).removeprefix("Instruction:").strip()


def strip_instruction(observation: str, instruction: str) -> str:
    """Return the page without the lines that only repeat the instruction.

    A rich page begins `Instruction:`, then the instruction; the index page says `WebShop` before, and lines such as
    `You have clicked red.` may come first. Those stay. A page of another form comes back as it is.

    Args:
        observation: a page, one string a line.
        instruction: the task; a leading `Instruction:` is ignored, as is how its words are spaced.
    """
    lines = observation.split("\n")
    task = one_line(instruction).casefold().removeprefix(_HEADING).strip()
    for start, line in enumerate(lines):
        if line.strip().casefold() != _HEADING:
            continue
        repeated = ""
        for end in range(start + 1, len(lines)):
            repeated = one_line(f"{repeated} {lines[end]}").casefold()
            if repeated == task:
                return "\n".join(lines[:start] + lines[end + 1 :])
            if not task.startswith(repeated):
                break
    return observation


def abbreviate_products(page: str, texts: Sequence[str]) -> list[str]:
    """Return the texts with short labels in place of product numbers, the same label everywhere.

    A product number costs a language model some seven tokens and says nothing; `#1` is the first product of the
    page, `#2` the second, and numbers that the page does not show follow in the order of the texts.

    Args:
        page: the current page, in full.
        texts: a prompt and its candidate actions, for example.
    """
    labels: dict[str, str] = {}
    for text in (page, *texts):
        for number in PRODUCT_NUMBER.findall(text):
            labels.setdefault(number.lower(), f"#{len(labels) + 1}")
    return [PRODUCT_NUMBER.sub(lambda match: labels[match[0].lower()], text) for text in texts]


def action_words(action: str, page: Sequence[str]) -> str | float:
    """Return what an action is about: its target and, for a product, the lines below its number on a results page.

    Args:
        action: an action, lower-cased.
        page: lines of the page, lower-cased.

    Returns:
        1 for a search, 0.5 for buying and 0 for an option that is already chosen: no words tell of these.
    """
    kind = action_type(action)
    if kind in _SCORES:
        return _SCORES[kind]
    target = action.partition("[")[2].removesuffix("]")
    words = [target]
    for number, line in enumerate(page):
        if f"[clicked button] {target} [clicked button_]" in line and kind is ShopAction.CLICK_OPTION:
            return 0.0
        if f"button] {target} [" in line and kind is ShopAction.CLICK_PRODUCT:
            words += _description(page[number + 1 :])
    return "\n".join(words)


def page_kind(actions: Sequence[str]) -> ShopPage:
    """Return the kind of page, told from the actions it offers."""
    kinds = {action_type(action) for action in actions}
    if ShopAction.SEARCH in kinds:
        return ShopPage.SEARCH
    if ShopAction.CLICK_BUY in kinds:
        return ShopPage.PRODUCT
    return ShopPage.RESULTS if kinds & {ShopAction.CLICK_PRODUCT, ShopAction.CLICK_NEXT} else ShopPage.DETAIL


def ending(steps: Sequence[Step]) -> ShopEnding:
    """Return how a failed episode ended.

    Args:
        steps: all steps of the episode, with the expert's actions.
    """
    kinds: dict[str, set[ShopAction]] = defaultdict(set)
    for step in steps:
        kinds[page_kind(step.available_actions)].update(map(action_type, step.best_actions))
    # Only on the page of a right product would the expert choose an option or buy.
    if not kinds[ShopPage.PRODUCT] & {ShopAction.CLICK_OPTION, ShopAction.CLICK_BUY}:
        return ShopEnding.NEVER_FOUND
    last = steps[-1]
    if action_type(last.action) is not ShopAction.CLICK_BUY or not last.best_actions:
        return ShopEnding.OUT_OF_STEPS
    wanted = set(map(action_type, last.best_actions))
    if ShopAction.CLICK_BUY in wanted:
        return ShopEnding.AS_EXPERT
    return ShopEnding.WRONG_OPTIONS if ShopAction.CLICK_OPTION in wanted else ShopEnding.WRONG_PRODUCT


def _telling_words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _WORD.findall(text) if word not in _STOP_WORDS))


def _description(lines: Sequence[str]) -> list[str]:
    """Return the lines up to the next button, gap or end: what a results page says of the product above them."""
    description = []
    for line in lines:
        if not line.strip() or "button]" in line or line == "action:":
            break
        description.append(line)
    return description


def is_purchase(action: str) -> bool:
    """Tell whether an action buys what is shown."""
    return action_type(action) is ShopAction.CLICK_BUY


def opens_product(action: str) -> bool:
    """Tell whether an action opens a product's page."""
    return action_type(action) is ShopAction.CLICK_PRODUCT


def further_pages(actions: Sequence[str]) -> tuple[str, ...]:
    """Return the actions that open the pages of a product, reviews aside."""
    return tuple(action for action in actions if action[len("click[") : -1].lower() in _FURTHER_PAGES)


def read_purchase(instruction: str, page: str, details: str) -> Purchase:
    """Read an item page.

    Args:
        instruction: what the user asked for.
        page: the item page; text beyond 20,000 characters is not looked at.
        details: text of the item's further pages, likewise.
    """
    groups: list[list[str]] = []
    chosen: set[str] = set()
    title, plain, prices = "", "", (float("nan"), float("nan"))
    for line in page[:_MAX_CHARACTERS].splitlines():
        said, button = CHOSEN.fullmatch(line), _LABEL.search(line) or _CLICKED.search(line)
        if said:
            chosen.add(said[1])
        elif button:
            if plain:
                groups.append([])
                plain = ""
            if groups:
                groups[-1].append(button[1])
        elif line.startswith("Price:"):
            title, plain, prices = plain, "", read_prices(line)
            groups.append([])  # the buttons that follow are the shop's own
        elif line.strip():
            plain = line.strip()
    offered = tuple(tuple(group) for group in groups if group and not _are_buttons(group))
    return Purchase(instruction, title, product_text(details, instruction), prices, offered, frozenset(chosen))


def product_text(page: str, instruction: str) -> str:
    """Return what a page says of a product: at most 20,000 characters, without buttons and the request."""
    lines = (line.strip() for line in page.replace(instruction, " ").splitlines())
    said = (line for line in lines if line and line.lower() != _HEADING and not _LABEL.fullmatch(line))
    return "\n".join(said)[:_MAX_CHARACTERS]


def read_prices(text: str) -> tuple[float, float]:
    """Return the lowest and highest amount of dollars in a text; NaN twice where there is none."""
    amounts = [float(amount.replace(",", "")) for amount in _AMOUNT.findall(text)]
    return (min(amounts), max(amounts)) if amounts else (float("nan"), float("nan"))


def _are_buttons(labels: Sequence[str]) -> bool:
    """Tell whether these are buttons of the shop, not values of an option."""
    return any(action_type(f"click[{label}]") is not ShopAction.CLICK_OPTION for label in labels)


webshop_purchases = PurchaseReader(
    buys=is_purchase, opens_item=opens_product, further_pages=further_pages, read=read_purchase
)
"""How purchases in the shop are read."""

webshop_grammar = TaskGrammar(
    name="webshop",
    role="You shop on a website for a user.",
    action_types=tuple(ShopAction),
    action_type=action_type,
    free_text_types=frozenset({ShopAction.SEARCH}),
    navigation_types=frozenset(
        {
            ShopAction.CLICK_BUY,
            ShopAction.CLICK_NEXT,
            ShopAction.CLICK_PREVIOUS,
            ShopAction.CLICK_BACK,
            ShopAction.CLICK_SUBPAGE,
        }
    ),
    candidate_actions=candidate_actions,
    target_chunks=label_chunks,
    task_text=task_text,
    page_text=strip_instruction,
    cut_page=cut_shop_page,
    memory=shop_memory,
    abbreviate=abbreviate_products,
    markers=("[button]", "[button_]", "[clicked button]", "[clicked button_]", "click[", "search["),
    action_words=action_words,
    stop_words=_INSTRUCTION_STOP_WORDS,
    page_kinds=tuple(ShopPage),
    page_kind=page_kind,
    endings=tuple(ShopEnding),
    ending=ending,
    purchases=webshop_purchases,
)
"""The shop's grammar."""
