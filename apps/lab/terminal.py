"""Sentences and tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as TerminalTable

from sightline.agents import Table


def say(text: str) -> None:
    """Print lines of prose, wrapped to the terminal; what a terminal obeys rather than shows becomes a space."""
    shown = "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(shown, soft_wrap=not console.is_terminal)


def print_table(table: Table) -> None:
    """Show a table in the terminal."""
    shown = TerminalTable(*table.columns, caption=table.caption, caption_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    # Cells are shown as they are, though they hold brackets, which rich would read as markup.
    Console(width=None if Console().is_terminal else 160, markup=False, emoji=False).print(shown)
