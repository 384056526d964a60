"""The commands `import`, `generate` and `verify`: official files or made-up products into a stored catalogue.

They pass products from one module to the next, one at a time, and say how far they are. What files and folders look
like is not known here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.webshop_env.errors import CatalogueError

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.catalogue.official.faults import SkippedRecords
    from sightline.webshop_env.commands.progress import Meter
    from sightline.webshop_env.product import Product


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `import`."""
    add = parser.add_argument
    add("--products", type=Path, metavar="FILE", help="the product file, items_shuffle*.json")
    add("--attributes", type=Path, metavar="FILE", help="the attribute file, items_ins_v2*.json (default: none)")
    add("--human", type=Path, metavar="FILE", help="the human instructions, items_human_ins.json (default: none)")
    add(
        "--table",
        type=Path,
        metavar="PATH",
        help="a CSV or Parquet file, or the folder of a saved data set, in place of official files",
    )
    add("--mapping", type=Path, metavar="FILE", help="TOML file that says which columns of --table mean what")
    add("--num-products", type=_positive, metavar="N", help="read the first N records only (default: all)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make for the stored catalogue")
    _add_goal_arguments(parser, "--seed")
    add("--replace", action="store_true", help="replace a stored catalogue in --out (default: refuse)")
    add(
        "--skip-invalid",
        type=_count,
        default=0,
        metavar="N",
        help="leave out up to N faulty records and say what is wrong with them (default: 0, so one is an error)",
    )
    add("--faults", type=Path, metavar="FILE", help="write every fault to this file, one JSON object a line")


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `generate`."""
    add = parser.add_argument
    add("--products", type=_positive, required=True, metavar="N", help="how many products to make up")
    add("--seed", type=int, default=0, help="picks one of the possible catalogues (default: 0)")
    add("--official", type=Path, metavar="DIR", help="folder for the three official JSON files (default: none)")
    add("--out", type=Path, metavar="DIR", help="folder to make for a stored catalogue (default: none)")
    _add_goal_arguments(parser, "--goals-seed")
    add("--replace", action="store_true", help="replace what is in --official and --out (default: refuse)")


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `verify`."""
    parser.add_argument("catalogue", type=Path, metavar="DIR", help="folder of a stored catalogue")


def _add_goal_arguments(parser: argparse.ArgumentParser, seed: str) -> None:
    parser.add_argument(
        "--goals",
        nargs="+",
        choices=("human", "synthetic"),
        default=[],
        help="build goals of these kinds now and keep them in --out (default: build them at first use)",
    )
    parser.add_argument(
        seed,
        dest="goals_seed",
        type=int,
        default=42,
        metavar="SEED",
        help="of the prices and price limits of --goals (default: 42)",
    )


def run_import(arguments: argparse.Namespace) -> int:
    """Read official files, or a table, into a stored catalogue.

    Args:
        arguments: parsed with those of `add_import_arguments`.

    Returns:
        The exit status, 0.

    Raises:
        WebShopError: a file is wrong, the folder exists, or there are no goals of the kind asked for.
        OSError: the folder cannot be written.
    """
    from sightline.webshop_env.catalogue.catalogue import write_catalogue
    from sightline.webshop_env.catalogue.official.faults import SkippedRecords
    from sightline.webshop_env.commands.progress import Meter

    _check_sources(arguments)
    skipped = SkippedRecords(arguments.skip_invalid)
    sources = [arguments.products, arguments.attributes, arguments.human, arguments.table]
    sources = [path for path in sources if path is not None and path.is_file()]
    started = time.perf_counter()
    try:
        with Meter("importing", arguments.num_products) as meter:
            products = _read(arguments, meter, skipped)
            catalogue = write_catalogue(meter.watch(products), arguments.out, replace=arguments.replace)
    finally:
        if arguments.faults is not None:
            skipped.write(arguments.faults)
    if skipped.count:
        _say(f"left out {skipped.count:,} faulty records:\n{skipped}")
    _say(f"imported {len(catalogue):,} products from {_size(sources)} in {time.perf_counter() - started:,.1f} s")
    _finish(catalogue, arguments)
    return 0


def _check_sources(arguments: argparse.Namespace) -> None:
    official = [name for name in ("products", "attributes", "human") if getattr(arguments, name) is not None]
    if (arguments.table is None) == (arguments.products is None) or (arguments.table is not None and official):
        raise CatalogueError("give either --products, with the files that belong to it, or --table with --mapping")
    if (arguments.table is None) != (arguments.mapping is None):
        raise CatalogueError("--table and --mapping belong together: the mapping says which columns mean what")


def _read(arguments: argparse.Namespace, meter: Meter, skipped: SkippedRecords) -> Iterator[Product]:
    from sightline.webshop_env.catalogue.official.reading import iter_products
    from sightline.webshop_env.catalogue.tables import read_table

    if arguments.table is not None:
        return islice(read_table(arguments.table, arguments.mapping, skipped), arguments.num_products)
    files = arguments.products, arguments.attributes, arguments.human
    return iter_products(*files, arguments.num_products, meter.set_bytes, skipped)


def run_generate(arguments: argparse.Namespace) -> int:
    """Make products up and write them as official files, as a stored catalogue, or as both.

    Args:
        arguments: parsed with those of `add_generate_arguments`.

    Returns:
        The exit status, 0.

    Raises:
        WebShopError: no place to write to was given, or something is there already.
        OSError: it cannot be written there.
    """
    _check_targets(arguments)
    if arguments.official is not None:
        _generate_official(arguments)
    if arguments.out is not None:
        _generate_catalogue(arguments)
    return 0


def _check_targets(arguments: argparse.Namespace) -> None:
    """Refuse before minutes of work what would be refused, or be sorely missed, after them."""
    from sightline.webshop_env.catalogue.official.writing import OfficialFiles

    if arguments.official is None and arguments.out is None:
        raise CatalogueError("nowhere to write to: give --official DIR, --out DIR or both")
    if arguments.goals and arguments.out is None:
        raise CatalogueError("--goals are kept in a stored catalogue: give --out DIR, too")
    official = [] if arguments.official is None else astuple(OfficialFiles.of(arguments.official))
    for path in (arguments.out, *official):
        if path is not None and path.exists() and not arguments.replace:
            raise CatalogueError(f"{path} exists already; choose another folder or add --replace")


def _generate_official(arguments: argparse.Namespace) -> None:
    from sightline.webshop_env.catalogue.generating import generate_products
    from sightline.webshop_env.catalogue.official.writing import write_products
    from sightline.webshop_env.commands.progress import Meter

    started = time.perf_counter()
    with Meter("writing official files", arguments.products) as meter:
        products = generate_products(arguments.products, arguments.seed)
        files = write_products(meter.watch(products), arguments.official)
    seconds = time.perf_counter() - started
    _say(f"wrote {arguments.products:,} products, {_size(astuple(files))}, in {seconds:,.1f} s: {arguments.official}")


def _generate_catalogue(arguments: argparse.Namespace) -> None:
    from sightline.webshop_env.catalogue.catalogue import write_catalogue
    from sightline.webshop_env.catalogue.generating import generate_products
    from sightline.webshop_env.commands.progress import Meter

    started = time.perf_counter()
    with Meter("generating", arguments.products) as meter:
        products = generate_products(arguments.products, arguments.seed)
        catalogue = write_catalogue(meter.watch(products), arguments.out, replace=arguments.replace)
    _say(f"generated {arguments.products:,} products in {time.perf_counter() - started:,.1f} s")
    _finish(catalogue, arguments)


def run_verify(arguments: argparse.Namespace) -> int:
    """Check every byte of a stored catalogue.

    Args:
        arguments: parsed with those of `add_verify_arguments`.

    Returns:
        The exit status, 0.

    Raises:
        CatalogueError: there is none, or it is damaged; names the file.
    """
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.verification import verify_catalogue

    started = time.perf_counter()
    verify_catalogue(arguments.catalogue)
    catalogue = Catalogue.open(arguments.catalogue)
    _say(f"checked {len(catalogue):,} products in {time.perf_counter() - started:,.1f} s: all as written")
    _describe(catalogue, arguments.catalogue)
    return 0


def _finish(catalogue: Catalogue, arguments: argparse.Namespace) -> None:
    """Build the goals asked for and describe what was made."""
    from sightline.webshop_env.goals.goals import build_goals

    for kind in dict.fromkeys(arguments.goals):
        started = time.perf_counter()
        goals = build_goals(catalogue, kind, arguments.goals_seed)
        _say(f"built {len(goals):,} {kind} goals in {time.perf_counter() - started:,.1f} s")
    _describe(catalogue, arguments.out)


def _describe(catalogue: Catalogue, folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    _say(f"catalogue: {folder}, {_size(files)}\nfingerprint: {catalogue.fingerprint}")


def _say(text: str) -> None:
    from rich.console import Console

    # Paths are no markup, and a fingerprint is copied from one line.
    Console(markup=False, highlight=False, soft_wrap=True).print(text)


def _size(files: Iterable[Path]) -> str:
    from rich.filesize import decimal

    return decimal(sum(path.stat().st_size for path in files))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number
