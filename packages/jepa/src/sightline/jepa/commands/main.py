"""The program `sightline-jepa`: picks a command, and turns its errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

_PROGRAM: Final = "sightline-jepa"
_FAILED: Final = 2
_INTERRUPTED: Final = 130
_COMMANDS: Final = {
    "train": "Train on pairs or documents of your own, and learn when answers are to be trusted.",
    "config": "Write a complete YAML file for --config, every key with its default and what it means.",
    "ask": "Ask what was trained, and see sources, confidence and what to do.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments behind the program's name; those of the process when None.

    Returns:
        The exit status: 0 after success, 2 after an error (the reason is on stderr), 130 after an interrupt.

    Raises:
        SystemExit: the arguments are wrong (status 2), or help was asked for (status 0).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Find the right source for a question, steered by a category or keywords."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, sentence in _COMMANDS.items():
        subparser = commands.add_parser(name, help=sentence, description=sentence)
        if words[:1] == [name]:
            _module(name).add_arguments(subparser)
    arguments = parser.parse_args(words)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr, force=True)
    # The command says itself what the trainer would say of each epoch.
    for chatty in ("sightline.jepa.training", "sentence_transformers", "transformers", "httpx", "huggingface_hub"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        _module(arguments.command).run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (ImportError, OSError, ValueError) as error:
        sys.stderr.write(f"{_PROGRAM} {arguments.command}: {error}\n")
        return _FAILED
    return 0


def _module(command: str) -> ModuleType:
    """Return the module of a command, which is imported when it is the one asked for."""
    return importlib.import_module(f"sightline.jepa.commands.{command}")


if __name__ == "__main__":
    sys.exit(main())
