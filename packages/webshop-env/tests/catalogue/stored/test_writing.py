from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.catalogue import Catalogue, ListedField, write_catalogue
from sightline.webshop_env.errors import CatalogueError, GoalError
from sightline.webshop_env.goals.goals import GoalKind, GoalSet, build_goals, draw_goal
from sightline.webshop_env.product import HumanInstruction, Product, SyntheticInstruction, listing_keys
from sightline.webshop_env.verification import verify_catalogue

TEXT = st.text(max_size=12) | st.sampled_from(["", " ", "\0", "\ufeff", "\u2028", "\U0010ffff", "<script>", "é\u0301"])
WORDS = st.lists(TEXT, max_size=3).map(tuple)
OPTIONS = st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=3)
PRODUCTS = st.builds(
    Product,
    asin=st.text(min_size=1, max_size=10).map(str.upper).filter(lambda asin: len(asin) <= 10 and "\0" not in asin),
    title=TEXT,
    description=TEXT,
    bullets=WORDS,
    pricing=st.lists(st.integers(0, 5000) | st.floats(0, 1e6), max_size=2).map(sorted).map(tuple),
    price_tag=TEXT,
    category=TEXT,
    query=TEXT,
    product_category=TEXT,
    options=OPTIONS,
    option_images=st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
    image=TEXT,
    attributes=WORDS,
    human=st.lists(st.builds(HumanInstruction, TEXT, WORDS, WORDS), max_size=3).map(tuple),
    synthetic=st.none() | st.builds(SyntheticInstruction, TEXT, WORDS),
)
# SHA-256 of the files of the two products below, but for those of floating-point numbers, whose last bit may differ.
GOLDEN = {
    "asins.npy": "af20feafd960d3d8",
    "list_starts.npy": "7261baa9f1d2440c",
    "lists.npy": "7f370c585f81c9ac",
    "offsets.npy": "22c2edf1c45c08dc",
    "positions.npy": "bb7ddb75dbf7391b",
    "ranks.npy": "bb7ddb75dbf7391b",
    "records.bin": "e19761fb6a2e4add",
    "search/documents.npy": "a270bd1a6e23e364",
    "search/identifier_starts.npy": "91bb2c3ffd444047",
    "search/identifiers.npy": "27c8581a3bed2a04",
    "search/posting_starts.npy": "0f50cb765bdea39c",
    "search/term_starts.npy": "63d32bdfa2e641a1",
    "search/terms.npy": "8a3bf6c48ef89f49",
    "value_offsets.npy": "b652caceebf7d75c",
    "values.bin": "18b4a16b0e53cf9e",
}
GOLDEN_FINGERPRINT = "1af8d2cec246f22d554ce7694e2ccc5d2dc6f501bd3ce9f86a3320e74909f1f6"
CATALOGUES = st.lists(PRODUCTS, min_size=1, max_size=6, unique_by=lambda product: product.asin).map(Catalogue)


@pytest.fixture(scope="module")
def made_up() -> Catalogue:
    return Catalogue.generate(40, seed=3)


@pytest.fixture
def stored(made_up: Catalogue, tmp_path: Path) -> Catalogue:
    return write_catalogue(made_up, tmp_path / "shop")


def assert_the_same(stored: Catalogue, memory: Catalogue) -> None:
    assert list(stored) == list(memory)
    assert len(stored) == len(memory)
    assert (stored.fingerprint, stored) == (memory.fingerprint, memory)
    assert tuple(stored.asins) == memory.asins
    for position, asin in enumerate(memory.asins):
        assert stored[asin] == stored[position] == memory[asin]
        assert asin in stored
        assert asin in stored.asins
        assert stored.position(asin) == stored.asins.index(asin) == position
    for key in {key for product in memory for key in listing_keys(product)}:
        field, _, value = key.partition(":")
        assert tuple(stored.listing(field, value)) == memory.listing(field, value)  # ty: ignore[invalid-argument-type]


def goals_or_message(catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalSet | str:
    try:
        return build_goals(catalogue, kind, seed)
    except GoalError as error:
        return str(error)


def assert_the_same_goals(stored: Catalogue, memory: Catalogue, kind: GoalKind, seed: int) -> None:
    built, expected = (goals_or_message(catalogue, kind, seed) for catalogue in (stored, memory))
    assert built == expected
    if isinstance(built, GoalSet) and isinstance(expected, GoalSet):
        assert list(built.cumulative_weights) == list(expected.cumulative_weights)
        for start in range(len(expected)):
            within = range(start, len(expected))
            assert draw_goal(built, random.Random(seed), within) == draw_goal(expected, random.Random(seed), within)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(memory=CATALOGUES, query=TEXT, seed=st.integers())
def test_a_stored_catalogue_is_the_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory, memory: Catalogue, query: str, seed: int
) -> None:
    stored = write_catalogue(iter(memory), tmp_path_factory.mktemp("any") / "shop")
    assert_the_same(stored, memory)
    assert stored.search_index().search(query) == memory.search_index().search(query)
    sample = min(3, len(memory))
    assert random.Random(seed).sample(stored.asins, sample) == random.Random(seed).sample(memory.asins, sample)
    for kind in get_args(GoalKind):
        assert_the_same_goals(stored, memory, kind, seed)
    verify_catalogue(stored.folder or "")


def test_a_larger_catalogue_is_stored_whole(stored: Catalogue, made_up: Catalogue) -> None:
    assert_the_same(stored, made_up)
    assert stored[-1] == made_up[-1]
    assert stored[3:6] == made_up[3:6]  # ty: ignore[invalid-argument-type]  (works as for any sequence)
    assert tuple(stored.asins[5:2:-1]) == made_up.asins[5:2:-1]


def test_reviews_are_stored_where_there_are_any(tmp_path: Path) -> None:
    long = list(Catalogue.generate(3, long_texts=True))
    mixed = Catalogue.from_products([*long, replace(long[0], asin="B0REVIEWS0", reviews=())])
    write_catalogue(mixed, tmp_path / "mixed")
    stored = Catalogue.open(tmp_path / "mixed")
    assert [len(product.reviews) for product in stored] == [20, 20, 20, 0]
    assert list(stored) == list(mixed)
    assert stored.fingerprint == mixed.fingerprint


@pytest.mark.parametrize("asin", ["B0MISSING", "", "B0\0", "\ud800", "B0" + "1" * 50, "é"])
def test_what_is_not_there_is_not_found(stored: Catalogue, asin: str) -> None:
    assert asin not in stored
    assert asin not in stored.asins
    with pytest.raises(KeyError, match=r"no product .* among the 40"):
        stored[asin]


@pytest.mark.parametrize("ask", [lambda shop, asin: shop[asin], lambda shop, asin: shop.headlines([asin])])
def test_a_record_of_another_product_is_never_sold_for_the_one_asked_for(
    stored: Catalogue, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files of real catalogues are too large to be checked whole when they are opened.
    monkeypatch.setattr("sightline.webshop_env.catalogue.stored.sealed_folder._SMALL_FILE_BYTES", 0)
    folder = stored.folder or Path()
    positions = np.load(folder / "positions.npy")
    np.save(folder / "positions.npy", positions[::-1])
    damaged = Catalogue.open(folder)
    with pytest.raises(CatalogueError, match=r"positions\.npy: is damaged where it places"):
        ask(damaged, stored.asins[0])


@pytest.mark.parametrize("unknown", ["B0MISSING", "", "B0" + "1" * 50, "\U0010ffff"])
def test_what_results_say_of_an_unknown_product_is_asked_in_vain(stored: Catalogue, unknown: str) -> None:
    known = [str(asin) for asin in stored.asins[:2]]
    for asins in ([unknown], [*known, unknown], [unknown, *known]):
        with pytest.raises(KeyError):
            stored.headlines(asins)
    assert [headline.asin for headline in stored.headlines(known)] == known


def test_a_replacement_that_was_killed_between_its_renames_is_explained(stored: Catalogue) -> None:
    folder = stored.folder or Path()
    former = folder.with_name(".shop.old")
    folder.rename(former)
    with pytest.raises(CatalogueError, match=r"a replacement was interrupted; rename .*\.shop\.old to it"):
        Catalogue.open(folder)
    former.rename(folder)
    assert Catalogue.open(folder) == stored


def test_the_files_of_version_1_are_read_and_written_to_the_byte(tmp_path: Path) -> None:
    lamp = Product(
        asin="B0LAMP",
        title="Lampe à poser",
        description="",
        bullets=("dimmable",),
        pricing=(10.0, 12.5),
        price_tag="$10.0 to $12.5",
        category="garden",
        query="lamp",
        product_category="Home › Lamps",
        options={"color": ("red", "blue")},
        attributes=("dimmable",),
        human=(HumanInstruction("a red lamp", ("dimmable",), ("red",)),),
    )
    mug = replace(lamp, asin="B0CAFE", title="Mug", options={}, human=(), synthetic=SyntheticInstruction("a mug", ()))
    folder = write_catalogue([lamp, mug], tmp_path / "shop").folder or Path()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    assert {
        name: hashlib.sha256(content).hexdigest()[:16] for name, content in files.items() if name in GOLDEN
    } == GOLDEN
    assert manifest["schema_version"] == 1
    assert manifest["fingerprint"] == GOLDEN_FINGERPRINT
    # The checksum before the first record is the CRC-32 of its content, begun at the record's position.
    offsets = np.load(folder / "offsets.npy")
    for position in range(2):
        record = files["records.bin"][int(offsets[position]) : int(offsets[position + 1])]
        assert record[:4] == zlib.crc32(record[4:], position).to_bytes(4, "little")


def test_positions_and_listings_beyond_the_end_are_refused(stored: Catalogue) -> None:
    with pytest.raises(IndexError):
        stored[40]
    for field in get_args(ListedField):
        assert tuple(stored.listing(field, "\U0010ffff")) == tuple(stored.listing(field, "\ud800")) == ()
    with pytest.raises(ValueError, match="'attributes', 'category', 'query', not 'title'"):
        stored.listing("title", "x")  # ty: ignore[invalid-argument-type]


def test_an_existing_folder_is_refused_and_kept(stored: Catalogue, made_up: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="exists already"):
        write_catalogue(list(made_up)[:2], stored.folder or "")
    assert Catalogue.open(stored.folder or "") == made_up


def test_a_catalogue_can_be_replaced_while_it_is_open(stored: Catalogue, made_up: Catalogue) -> None:
    folder = stored.folder or Path()
    smaller = write_catalogue(list(made_up)[:2], folder, replace=True)
    assert len(smaller) == len(Catalogue.open(folder)) == 2
    assert list(stored) == list(made_up)
    assert [path.name for path in folder.parent.iterdir()] == ["shop"]


def test_only_a_catalogue_is_ever_replaced(made_up: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    with pytest.raises(CatalogueError, match="delete it yourself"):
        write_catalogue(made_up, tmp_path / "letters", replace=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "x"


def test_progress_ends_with_the_number_of_products(made_up: Catalogue, tmp_path: Path) -> None:
    seen: list[int] = []
    write_catalogue((replace(made_up[0], asin=f"B{i}") for i in range(2345)), tmp_path / "shop", progress=seen.append)
    assert seen == [1000, 2000, 2345]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asin": "b0"}, "product 1 has asin 'b0'; expected 1 to 10 characters, upper case"),
        ({"asin": "B0\0"}, "a NUL cannot be stored"),
        ({"title": "half a pair \ud800"}, r"product 1 \(asin '.*'\) cannot be stored: .*surrogates"),
        ({"title": 5}, r"product 1 \(asin '.*'\) cannot be stored: Expected `str`"),
        ({"pricing": (10**400,)}, r"product 1 \(asin '.*'\) cannot be stored"),
        ({"attributes": object()}, r"product 1 \(asin '.*'\) cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    made_up: Catalogue, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogueError, match=message):
        write_catalogue([made_up[0], replace(made_up[1], **changes)], tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_asin_and_no_product_at_all_are_refused(made_up: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="products 0 and 2 both have asin"):
        write_catalogue([made_up[0], made_up[1], made_up[0]], tmp_path / "shop")
    with pytest.raises(CatalogueError, match="at least one product"):
        write_catalogue([], tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_leaves_nothing(made_up: Catalogue, tmp_path: Path) -> None:
    def source() -> Iterator[Product]:
        yield made_up[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_catalogue(source(), tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_write_the_same_folder(made_up: Catalogue, tmp_path: Path) -> None:
    def source() -> Iterator[Product]:
        yield made_up[0]
        with pytest.raises(CatalogueError, match="another process is writing"):
            write_catalogue(made_up, tmp_path / "shop")
        yield made_up[1]

    assert len(write_catalogue(source(), tmp_path / "shop")) == 2


def all_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_flipped_byte_in_any_file_is_found_and_named(stored: Catalogue) -> None:
    folder = stored.folder or Path()
    build_goals(stored, "human", 1)
    verify_catalogue(folder)
    names = all_files(folder)
    assert {"manifest.json", "records.bin", "goals/human-1-v1/manifest.json", "goals/human-1-v1/caps.npy"} < set(names)
    for name in names:
        path, content = folder / name, (folder / name).read_bytes()
        for place in {0, len(content) // 2, len(content) - 1} if content else ():
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            with pytest.raises(CatalogueError, match=name.rpartition("/")[2]):
                verify_catalogue(folder)
        path.write_bytes(content)
    verify_catalogue(folder)


def test_a_file_cut_short_or_missing_is_found_at_opening(stored: Catalogue) -> None:
    folder = stored.folder or Path()
    for name in all_files(folder):
        path, content = folder / name, (folder / name).read_bytes()
        path.unlink()
        with pytest.raises(CatalogueError, match=path.name):
            Catalogue.open(folder)
        if content:
            path.write_bytes(content[:-1])
            with pytest.raises(CatalogueError, match=path.name):
                Catalogue.open(folder)
        path.write_bytes(content)
    Catalogue.open(folder)


def test_a_damaged_record_is_named_with_its_product_when_it_is_read(made_up: Catalogue, tmp_path: Path) -> None:
    # Larger than what is checked at opening.
    big = [replace(product, description="long " * 10_000) for product in made_up]
    folder = write_catalogue(big, tmp_path / "shop").folder or Path()
    path, rng, offsets = folder / "records.bin", random.Random(0), np.load(folder / "offsets.npy")
    content = path.read_bytes()
    for _ in range(20):
        place = rng.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
        damaged, found = Catalogue.open(folder), 0
        for position, product in enumerate(big):
            start, stop = offsets[position], offsets[position + 1]
            if not start <= place < stop:
                assert damaged[position] == product
                continue
            with pytest.raises(CatalogueError, match=rf"records.bin: the record of product {position} is damaged"):
                damaged[position]
            with pytest.raises(CatalogueError, match=f"records.bin: .* is damaged.*asin '{product.asin}'"):
                damaged[product.asin]
            found += 1
        assert found == 1


def test_a_path_that_is_no_catalogue_is_refused_with_what_to_do(made_up: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("missing", "file", "empty"):
        with pytest.raises(CatalogueError, match=r"no stored catalogue.*sightline-webshop import"):
            Catalogue.open(tmp_path / name)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Changes the manifest, with a checksum that fits."""
    import hashlib

    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    content |= changes
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps(content | {"sha256": digest}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "version 99, but this package reads .* of version 1; make it again"),
        ({"format": "cookbook"}, "holds 'cookbook'"),
        ({"products": 41}, r"offsets.npy: holds uint64 \(41,\); expected uint64 \(42,\)"),
        ({"products": 0}, "field 'products' is wrong"),
        ({"extra": 1}, "field 'extra' is wrong"),
        ({"files": {"../../secret": {"size": 1, "sha256": "0" * 64}}}, "field 'files"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    stored: Catalogue, changes: dict[str, object], message: str
) -> None:
    rewrite_manifest(stored.folder or Path(), **changes)
    with pytest.raises(CatalogueError, match=message):
        Catalogue.open(stored.folder or "")


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{}", "\ud7ff", " " * (1 << 21)])
def test_a_manifest_that_is_no_manifest_is_damaged(stored: Catalogue, text: str) -> None:
    ((stored.folder or Path()) / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"manifest.json: is damaged"):
        Catalogue.open(stored.folder or "")


def test_a_stored_catalogue_is_pickled_as_its_path(stored: Catalogue, made_up: Catalogue) -> None:
    goals = build_goals(stored, "human", 1)
    data = pickle.dumps((stored, goals))
    assert len(data) < 2000
    catalogue, same_goals = pickle.loads(data)  # noqa: S301
    assert list(catalogue) == list(made_up)
    assert same_goals == goals
    assert pickle.loads(pickle.dumps(made_up)) == made_up  # noqa: S301
    write_catalogue(list(made_up)[:3], stored.folder or "", replace=True)
    with pytest.raises(CatalogueError, match="has been replaced since"):
        pickle.loads(data)  # noqa: S301


READING = """
import multiprocessing, sys
from sightline.webshop_env import Catalogue, build_goals

def read(catalogue, connection):
    goals = build_goals(catalogue, "human", 1)
    titles = [catalogue[asin].title for asin in catalogue.asins]
    connection.send((catalogue.fingerprint, titles, [goal.instruction_text for goal in goals.goals]))

if __name__ == "__main__":
    catalogue = Catalogue.open(sys.argv[1])
    expected = None
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        child = context.Process(target=read, args=(catalogue, theirs))
        child.start()
        answer = ours.recv()
        child.join()
        assert expected in (None, answer)
        expected = answer
    assert expected[1] == [product.title for product in catalogue]
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_forked_and_spawned_processes_read_the_same(stored: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "reading.py").write_text(READING)
    command = [sys.executable, tmp_path / "reading.py", stored.folder or ""]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_threads_read_the_same(stored: Catalogue, made_up: Catalogue) -> None:
    def read(seed: int) -> bool:
        asins = random.Random(seed).choices(made_up.asins, k=200)
        return all(stored[asin] == made_up[asin] and stored.asins[made_up.position(asin)] == asin for asin in asins)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))
