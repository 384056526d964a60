"""How fast the official files are read and written, and in how much memory; why they are not read by a JSON library.

    uv run --group benchmark packages/webshop-env/benchmarks/reading.py --products 100000

The files are made up, or those of `--folder`. Each measure runs in a process of its own. Rates are by processor time,
so that other work on the machine disturbs them little. Peak memory is that of the process, interpreter and imports
included; `json.loads` shows what reading a file at once would take. ijson is measured with its fastest backend. It was
rejected for what it does to text, too: half of a surrogate pair becomes "?" without an error, or a UnicodeDecodeError.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ijson

from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.official.json_stream import JsonStream
from sightline.webshop_env.catalogue.official.reading import OfficialFiles, iter_products, write_products


def by_ijson(files: OfficialFiles) -> int:
    with files.products.open("rb") as file:
        return sum(1 for _ in ijson.items(file, "item", use_float=True, buf_size=1 << 20))


def by_json_stream(files: OfficialFiles) -> int:
    with JsonStream(files.products, "a product file") as stream:
        return sum(1 for _ in stream)


def by_json_loads(files: OfficialFiles) -> int:
    return len(json.loads(files.products.read_bytes()))


def by_iter_products(files: OfficialFiles) -> int:
    return sum(1 for _ in iter_products(files.products, files.attributes, files.human))


def by_write_products(files: OfficialFiles) -> int:
    products = iter_products(files.products, files.attributes, files.human)
    with tempfile.TemporaryDirectory() as folder:
        write_products(products, folder)
    return by_json_stream(files)


def measured(read: Callable[[OfficialFiles], int], files: OfficialFiles) -> tuple[int, float, float]:
    """Return records read, seconds of processor time, and peak resident memory in megabytes."""
    started = time.process_time()
    count = read(files)
    seconds = time.process_time() - started
    return count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(read: Callable[[OfficialFiles], int], files: OfficialFiles) -> tuple[int, float, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, read, files).result()


def size(*paths: Path) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=20_000, help="how many to make up (default: 20000)")
    parser.add_argument("--folder", type=Path, help="read these files, named as `generate --official` names them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        files = OfficialFiles.of(arguments.folder or temporary)
        if arguments.folder is None:
            started = time.process_time()
            write_products(generate_products(arguments.products, seed=0), temporary)
            print(f"made up and written: {arguments.products / (time.process_time() - started):,.0f} products/s")
        one, all_three = size(files.products), size(files.products, files.attributes, files.human)
        print(f"ijson backend: {ijson.backend}; product file: {one:,.0f} MB, all three: {all_three:,.0f} MB")
        print(f"{'':32} {'records':>10} {'MB/s':>7} {'records/s':>10} {'peak MB':>8}")
        for name, read, megabytes in (
            ("product file, ijson", by_ijson, one),
            ("product file, JsonStream", by_json_stream, one),
            ("product file, json.loads", by_json_loads, one),
            ("three files to products", by_iter_products, all_three),
            ("three files to three files", by_write_products, all_three),
        ):
            count, seconds, peak = alone(read, files)
            print(f"{name:32} {count:>10,} {megabytes / seconds:>7.1f} {count / seconds:>10,.0f} {peak:>8,.0f}")


if __name__ == "__main__":
    main()
