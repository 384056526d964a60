"""Tables as CSV, Markdown and LaTeX. Knows nothing of what stands in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.teachability.files import atomic_file
from sightline.teachability.records import Record

Cell = str | int | float | None

_LATEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption."""

    caption: str
    """What it shows."""
    columns: tuple[str, ...]
    """Headings."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells; None is shown as a dash, a float with three decimals."""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(show(cell).replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return f"{self.caption}\n\n" + "\n".join(lines) + "\n"

    def latex(self) -> str:
        """Return the table as LaTeX, for the package booktabs."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_escaped(self.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
            r"\toprule",
            " & ".join(map(_escaped, self.columns)) + r" \\",
            r"\midrule",
            *(" & ".join(_escaped(show(cell)) for cell in row) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def show(cell: Cell) -> str:
    """Return a cell as text."""
    if cell is None or cell != cell:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else " ".join(str(cell).split())


def write_csv(path: Path, records: Sequence[Record], columns: Sequence[str] | None = None) -> None:
    """Write records of one type as CSV, whole or not at all.

    Args:
        path: the file.
        records: rows; fields that are None are empty.
        columns: headings, needed where there are no records; default the first record's fields.
    """
    names = list(columns or (type(records[0]).model_fields if records else ()))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(record.model_dump(mode="json") for record in records)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def _escaped(text: str) -> str:
    return text.translate(_LATEX)
