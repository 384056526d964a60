"""Draws a page in each observation mode: plain text, text with marked buttons, HTML, and its address."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Final

from sightline.webshop_env.rules.pages import SEPARATOR, Element, Page, Role, options_json, rich_line
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind, ShopState

_BASE: Final = "http://127.0.0.1:3000"


def render_text(page: Page) -> str:
    """Return the visible strings of the page, stripped and joined by " [SEP] "."""
    return SEPARATOR.join([fragment.text for fragment in page.fragments if fragment.elements])


def render_rich(page: Page) -> str:
    """One visible string per line; what can be clicked in `[button] ... [button_]`, choices first.

    A line announces each chosen option; a later option's line stands first.
    """
    if not page.marked:
        return "".join([fragment.rich for fragment in page.fragments])
    elements = list(page.elements)
    chosen = [element.text for element in elements if element.role is Role.OPTION and element.marked]
    return "".join(f"You have clicked {value}.\n" for value in reversed(chosen)) + "".join(map(rich_line, elements))


def render_html(page: Page) -> str:
    """Return a small HTML fragment; all text is escaped.

    It is for people and parsers; unlike the text modes it does not imitate the original's markup.
    """
    search = '<input type="search" name="query">\n' if page.kind is PageKind.INDEX else ""
    body = "\n".join(map(_html, page.elements))
    return f'<main class="{page.kind.lower()}">\n{search}{body}\n</main>\n'


def _html(element: Element) -> str:
    text, name = escape(element.text), escape(element.name)
    if element.role is Role.BUTTON:
        return f"<button>{text}</button>"
    if element.role is Role.LINK:
        visited = ' class="visited"' if element.marked else ""
        return f'<a href="#{text}"{visited}>{text}</a>'
    if element.role is Role.OPTION:
        checked = " checked" if element.marked else ""
        return f'<label><input type="radio" name="{name}" value="{text}"{checked}>{text}</label>'
    tag = "h2" if element.name == "title" else "p"
    return f'<{tag} class="{name}">{text}</{tag}>' if name else f"<{tag}>{text}</{tag}>"


def url(state: ShopState, session: str = "s0") -> str:
    """Return the address of the page a state shows.

    Args:
        state: the state.
        session: a label that the original takes from its caller; it has no meaning.
    """
    kind = state.kind
    if kind is PageKind.INDEX:
        return f"{_BASE}/{session}"
    words = state.query.replace(" ", "+")
    if kind is PageKind.RESULTS:
        return f"{_BASE}/search_results/{session}/{words}/{state.number}"
    options = dict(state.options)
    if kind is PageKind.DONE:
        return f"{_BASE}/done/{session}/{state.asin}/{options}"
    if kind in SUB_PAGES:
        return f"{_BASE}/item_sub_page/{session}/{state.asin}/{words}/{state.number}/{kind}/{options}"
    return f"{_BASE}/item_page/{session}/{state.asin}/{words}/{state.number}/{options_json(state.options)}"


RENDERERS: Final[dict[str, Callable[[Page], str]]] = {
    "text": render_text,
    "text_rich": render_rich,
    "html": render_html,
}
"""The observation modes that draw the page; the mode `url` needs the state instead."""
