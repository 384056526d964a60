"""The program `sightline-webshop`: picks a command, and turns its errors into messages and exit statuses.

It knows the names of the commands and where they are; the module of a command is imported when it is the one asked for.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from sightline.webshop_env.errors import WebShopError

_PROGRAM = "sightline-webshop"
_FAILED = 2
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class _Command:
    """One command."""

    module: str
    """In this package."""
    help: str
    """A sentence."""
    add_arguments: str = "add_arguments"
    """Function of the module that declares the command's arguments on a parser."""
    run: str = "run"
    """Function of the module that takes the parsed arguments and returns the exit status."""


_COMMANDS = {
    "import": _Command(
        "commands.catalogue",
        "Read the official WebShop files, or a table, into a stored catalogue.",
        "add_import_arguments",
        "run_import",
    ),
    "generate": _Command(
        "commands.catalogue",
        "Make products up, as a stored catalogue or official files.",
        "add_generate_arguments",
        "run_generate",
    ),
    "verify": _Command(
        "commands.catalogue", "Check every byte of a stored catalogue.", "add_verify_arguments", "run_verify"
    ),
    "describe": _Command(
        "commands.describe", "Write a card of a catalogue: texts, options, prices and goals in figures."
    ),
    "serve": _Command("server.command", "Serve a shop to people (web pages) and programs (JSON API, OpenEnv)."),
    "play": _Command("commands.play", "Play an episode in the terminal."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments behind the program's name; those of the process when None.

    Returns:
        The exit status: 0 after success, 2 after an error (the reason is on stderr), 130 after an interrupt, or what
        the command itself returns.

    Raises:
        SystemExit: the arguments are wrong (status 2), or help was asked for (status 0).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="A WebShop-compatible shop: its catalogues, its server, and a game in the terminal."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=command.help)
        # The program has no options of its own but --help, so that a command can only be the first word.
        if words[:1] == [name]:
            getattr(_module(command), command.add_arguments)(subparser)
    arguments = parser.parse_args(words)
    command = _COMMANDS[arguments.command]
    try:
        return getattr(_module(command), command.run)(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (WebShopError, OSError) as error:
        sys.stderr.write(f"{_PROGRAM} {arguments.command}: {error}\n")
        return _FAILED


def _module(command: _Command) -> ModuleType:
    return importlib.import_module(f"sightline.webshop_env.{command.module}")


if __name__ == "__main__":
    sys.exit(main())
