"""Tables of short texts, for a page, a terminal or a Markdown file. Knows nothing of what stands in the cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of short texts under column headings; numbers are formatted by the caller."""

    columns: tuple[str, ...]
    """Headings of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """As many cells per row as there are columns."""
    caption: str = ""
    """What the table shows and how its intervals were made."""

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
