"""Tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as TerminalTable

from sightline.agents import Table


def print_table(table: Table) -> None:
    """Show a table in the terminal."""
    shown = TerminalTable(*table.columns, caption=table.caption, caption_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    # Cells are shown as they are, though they hold brackets, which rich would read as markup.
    Console(width=None if Console().is_terminal else 160, markup=False, emoji=False).print(shown)
