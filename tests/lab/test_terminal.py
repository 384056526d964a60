from __future__ import annotations

import pytest

from lab.terminal import print_table, say
from sightline.agents import Table


def test_cells_are_shown_as_they_are_though_they_hold_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table(("[bold]name[/bold]", "value"), (("[red]a[/red]", "0.1 [0.0, 0.2] :smile:"),), "[i]caption[/i]"))
    shown = capsys.readouterr().out
    for text in ("[bold]name[/bold]", "[red]a[/red]", "0.1 [0.0, 0.2] :smile:", "[i]caption[/i]"):
        assert text in shown


def test_what_a_terminal_would_obey_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say("one \x1b[31mtwo\x07 [bold]three[/bold]\nfour")
    assert capsys.readouterr().out == "one  [31mtwo  [bold]three[/bold]\nfour\n"
