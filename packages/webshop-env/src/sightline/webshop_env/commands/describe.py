"""The command `describe`: a card of a catalogue, beside that of another one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.webshop_env.errors import CatalogueError

if TYPE_CHECKING:
    from sightline.webshop_env.cards.catalogue_card import CatalogueFacts
    from sightline.webshop_env.catalogue.catalogue import Catalogue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `describe`."""
    add = parser.add_argument
    add("catalogue", nargs="?", type=Path, help="folder of a stored catalogue (default: generated products)")
    add("--products", type=int, default=1000, metavar="N", help="how many products to generate (default: 1000)")
    add("--beside", type=Path, metavar="DIR", help="folder of a stored catalogue to compare with (default: none)")
    add("--goals", choices=("human", "synthetic"), default="human", help="whose instructions (default: human)")
    add(
        "--sample", type=int, default=200, metavar="N", help="goals that are compared with every product (default: 200)"
    )
    add("--out", type=Path, metavar="FILE", help="Markdown file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Write the card.

    Args:
        arguments: parsed with those of `add_arguments`.

    Returns:
        The exit status, 0.

    Raises:
        WebShopError: a catalogue cannot be opened, or has no goals of the kind.
        OSError: the file cannot be written.
    """
    from sightline.webshop_env.cards.catalogue_card import write_card
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.files import atomic_file

    if min(arguments.products, arguments.sample) < 1:
        raise CatalogueError("--products and --sample must be at least 1")
    made = (
        Catalogue.generate(arguments.products) if arguments.catalogue is None else Catalogue.open(arguments.catalogue)
    )
    name = "generated" if arguments.catalogue is None else arguments.catalogue.name
    columns = [(name, _facts(made, arguments))]
    if arguments.beside is not None:
        columns.append((arguments.beside.name, _facts(Catalogue.open(arguments.beside), arguments)))
    card = write_card(columns)
    if arguments.out is None:
        sys.stdout.write(card)
    else:
        with atomic_file(arguments.out) as file:
            file.write(card.encode())
    return 0


def _facts(catalogue: Catalogue, arguments: argparse.Namespace) -> CatalogueFacts:
    from sightline.webshop_env.cards.catalogue_card import describe
    from sightline.webshop_env.goals.goals import build_goals

    return describe(catalogue, build_goals(catalogue, arguments.goals, 42), sample=arguments.sample)
