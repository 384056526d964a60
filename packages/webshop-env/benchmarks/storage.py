"""Which way of keeping products on disk reads one the fastest: the measurement behind the choice in `store`.

    uv run --group benchmark packages/webshop-env/benchmarks/storage.py --products 50000

For made-up products, each engine in a process of its own: size of its files, products written per second, time to open,
microseconds of processor time to find a product by asin and decode it into a :class:`Product` (the best of 20 rounds
over 2,000 random ones, files in the page cache), and private memory that opening and reading added, pages of files not
counted. No engine indexes texts here.

* flat: MessagePack records with a CRC-32 in one file, offsets, and sorted asins for a binary search (what `store`
  does). Read-only maps: safe in threads and across a fork.
* lmdb: the same records without CRC in LMDB's B+ tree. Safe in threads; an environment must not be used across a
  fork, so each worker would have to open it again.
* sqlite: the same records in a table without row ids. A connection belongs to one thread unless told otherwise and
  must not be carried across a fork.
* arrow-binary: the same records as a binary column of an Arrow IPC file, sorted by asin. Safe in threads; a map can
  be read after a fork, but pyarrow's thread pool does not survive one.
* arrow-columns: every field as an Arrow column, in 64 record batches, so that no decoding of records is needed. As
  arrow-binary.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sqlite3
import tempfile
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import lmdb
import msgspec
import numpy as np
import pyarrow as pa

from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.stored.reading import (
    RECORDS,
    StoredAsins,
    StoredPositions,
    StoredProducts,
    checksum,
)
from sightline.webshop_env.product import HumanInstruction, Product, SyntheticInstruction

Find = Callable[[str], Product]

_READS, _ROUNDS = 2000, 20
_BATCHES = 64
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Product).decode


def write_flat(products: Iterator[Product], folder: Path, count: int) -> None:
    offsets, asins = array("Q", [0]), []
    with (folder / RECORDS).open("wb") as file:
        for position, product in enumerate(products):
            content = _encode(product)
            file.write(checksum(content, position) + content)
            offsets.append(file.tell())
            asins.append(product.asin.encode())
    names = np.array(asins)
    positions = np.argsort(names).astype(np.int32)
    for name, column in (("offsets", np.array(offsets)), ("names", names[positions]), ("positions", positions)):
        np.save(folder / f"{name}.npy", column)


def open_flat(folder: Path) -> Find:
    names, positions = (np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("names", "positions"))
    by_asin = StoredPositions(names, positions, StoredAsins(names, positions))
    products = StoredProducts(folder, len(names))
    return lambda asin: products[by_asin[asin]]


def write_lmdb(products: Iterator[Product], folder: Path, count: int) -> None:
    with lmdb.open(str(folder), map_size=count * 10_000 + (1 << 24)) as store, store.begin(write=True) as transaction:
        for product in products:
            transaction.put(product.asin.encode(), _encode(product))


def open_lmdb(folder: Path) -> Find:
    transaction = lmdb.open(str(folder), readonly=True, lock=False).begin(buffers=True)
    return lambda asin: _decode(transaction.get(asin.encode(), b""))


def write_sqlite(products: Iterator[Product], folder: Path, count: int) -> None:
    connection = sqlite3.connect(folder / "products.db")
    connection.execute("CREATE TABLE product (asin TEXT PRIMARY KEY, record BLOB) WITHOUT ROWID")
    connection.executemany("INSERT INTO product VALUES (?, ?)", ((p.asin, _encode(p)) for p in products))
    connection.commit()
    connection.close()


def open_sqlite(folder: Path) -> Find:
    connection = sqlite3.connect(f"file:{folder / 'products.db'}?mode=ro&immutable=1", uri=True)
    connection.execute("PRAGMA mmap_size = 17179869184")
    query = "SELECT record FROM product WHERE asin = ?"
    return lambda asin: _decode(connection.execute(query, (asin,)).fetchone()[0])


def write_arrow_binary(products: Iterator[Product], folder: Path, count: int) -> None:
    records = sorted((product.asin, _encode(product)) for product in products)
    table = pa.table({"asin": [asin for asin, _ in records], "record": pa.array([r for _, r in records], pa.binary())})
    _write_arrow(table, folder, count)


def open_arrow_binary(folder: Path) -> Find:
    batches, asins, size = _open_arrow(folder)
    records = [batch.column("record") for batch in batches]

    def find(asin: str) -> Product:
        batch, row = divmod(bisect_left(range(size), asin, key=asins), len(records[0]))
        return _decode(records[batch][row].as_buffer())

    return find


def write_arrow_columns(products: Iterator[Product], folder: Path, count: int) -> None:
    rows = [
        asdict(product) | {name: list(getattr(product, name).items()) for name in ("options", "option_images")}
        for product in sorted(products, key=lambda product: product.asin)
    ]
    text, texts = pa.string(), pa.list_(pa.string())
    special = {
        "bullets": texts,
        "pricing": pa.list_(pa.float64()),
        "options": pa.map_(text, texts),
        "option_images": pa.map_(text, text),
        "attributes": texts,
        "human": pa.list_(pa.struct({"text": text, "attributes": texts, "options": texts})),
        "synthetic": pa.struct({"text": text, "attributes": texts}),
    }
    schema = pa.schema({name: special.get(name, text) for name in rows[0]})
    _write_arrow(pa.Table.from_pylist(rows, schema=schema), folder, count)


def open_arrow_columns(folder: Path) -> Find:
    batches, asins, size = _open_arrow(folder)

    def find(asin: str) -> Product:
        batch, row = divmod(bisect_left(range(size), asin, key=asins), len(batches[0]))
        values = {name: column[row].as_py() for name, column in zip(names, batches[batch].columns, strict=True)}
        for name in ("bullets", "pricing", "attributes"):
            values[name] = tuple(values[name])
        values["options"] = {name: tuple(group) for name, group in values["options"]}
        values["option_images"] = dict(values["option_images"])
        values["human"] = tuple(
            HumanInstruction(entry["text"], tuple(entry["attributes"]), tuple(entry["options"]))
            for entry in values["human"]
        )
        entry = values["synthetic"]
        values["synthetic"] = entry and SyntheticInstruction(entry["text"], tuple(entry["attributes"]))
        return Product(**values)

    names = batches[0].schema.names
    return find


def _write_arrow(table: pa.Table, folder: Path, count: int) -> None:
    rows = -(-count // _BATCHES)
    with pa.OSFile(str(folder / "products.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in table.combine_chunks().to_batches(max_chunksize=rows):
            writer.write_batch(batch)


def _open_arrow(folder: Path) -> tuple[list[pa.RecordBatch], Callable[[int], str], int]:
    reader = pa.ipc.open_file(pa.memory_map(str(folder / "products.arrow")))
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    columns = [batch.column("asin") for batch in batches]
    rows = len(batches[0])
    return batches, lambda row: columns[row // rows][row % rows].as_py(), sum(map(len, batches))


ENGINES = {
    "flat": (write_flat, open_flat),
    "lmdb": (write_lmdb, open_lmdb),
    "sqlite": (write_sqlite, open_sqlite),
    "arrow-binary": (write_arrow_binary, open_arrow_binary),
    "arrow-columns": (write_arrow_columns, open_arrow_columns),
}


@dataclass(frozen=True)
class Reading:
    """Seconds to open, microseconds a product, and mebibytes of private memory."""

    opening: float
    microseconds: float
    private: float


def private_mebibytes() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def read(engine: str, folder: Path, wanted: list[Product], connection) -> None:
    asins = [product.asin for product in wanted]
    before = private_mebibytes()
    started = time.perf_counter()
    find = ENGINES[engine][1](folder)
    opening = time.perf_counter() - started
    rounds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for asin in asins:
            find(asin)
        rounds.append(time.process_time() - started)
    private = private_mebibytes() - before
    if any(find(product.asin) != product for product in wanted):
        raise SystemExit(f"{engine} gives other products back than it was given")
    connection.send(Reading(opening, min(rounds) / len(asins) * 1e6, private))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=50_000, help="how many to keep")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments = parser.parse_args()
    count = arguments.products
    chosen = set(random.Random(0).sample(range(count), min(_READS, count)))
    wanted = [product for number, product in enumerate(generate_products(count, 0)) if number in chosen]
    random.Random(1).shuffle(wanted)
    context = multiprocessing.get_context("spawn")
    for engine, (write, _) in ENGINES.items():
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name)
            products = list(generate_products(count, 0))
            started = time.perf_counter()
            write(iter(products), folder, count)
            rate = count / (time.perf_counter() - started)
            del products
            # What the file system keeps, because LMDB's file is sparse.
            size = sum(path.stat().st_blocks * 512 for path in folder.iterdir()) / (1 << 20)
            ours, theirs = context.Pipe()
            child = context.Process(target=read, args=(engine, folder, wanted, theirs))
            child.start()
            theirs.close()
            reading: Reading = ours.recv()
            child.join()
        if arguments.json:
            print(json.dumps({"engine": engine, "mebibytes": size, "written_per_second": rate} | asdict(reading)))
        else:
            print(
                f"{engine:14} {size:8,.0f} MiB {rate:9,.0f} written/s {reading.opening * 1e3:8.1f} ms to open "
                f"{reading.microseconds:7.1f} us a product {reading.private:6.1f} MiB private"
            )


if __name__ == "__main__":
    main()
