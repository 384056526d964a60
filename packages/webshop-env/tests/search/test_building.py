from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.search import building as index_builder
from sightline.webshop_env.search.analysis import search_terms
from sightline.webshop_env.search.building import IndexBuilder
from sightline.webshop_env.search.files import IndexArrays
from sightline.webshop_env.search.index import SearchIndex

WORDS = ("red", "lamp", "lamps", "usb", "the", "3.5", "★", "café", "table")
NAMES = sorted(field.name for field in fields(IndexArrays))

texts = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)
corpora = st.dictionaries(st.text("AB01é", min_size=1, max_size=5), texts, max_size=70)


def build(folder: Path, documents: dict[str, str]) -> SearchIndex:
    builder = IndexBuilder(folder)
    for identifier, document in documents.items():
        builder.add(identifier, document)
    builder.finish()
    return SearchIndex.open(folder)


def kept_length(length: int) -> int:
    fitting = {*range(32), *(24 + ((8 + fraction) << exponent) for exponent in range(28) for fraction in range(8))}
    return max(value for value in fitting if value <= length)


class BruteForce:
    """BM25 by its formula: single-precision impacts of one document after the other, added as Python floats."""

    def __init__(self, documents: dict[str, str]) -> None:
        self.counts = {identifier: Counter(search_terms(text)) for identifier, text in documents.items()}
        filled = [sum(counts.values()) for counts in self.counts.values() if counts]
        self.filled = max(len(filled), 1)
        average = np.float32(max(sum(filled), 1) / self.filled)
        self.holders = Counter(term for counts in self.counts.values() for term in counts)
        one, k1, b = map(np.float32, (1, 0.9, 0.4))
        self.factors = {
            identifier: one / (k1 * ((one - b) + b * np.float32(kept_length(sum(counts.values()))) / average))
            for identifier, counts in self.counts.items()
        }

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        weights = []
        for term, repeats in Counter(search_terms(query)).items():
            holders = self.holders[term]
            inverse = np.log(1 + (self.filled - holders + 0.5) / (holders + 0.5)).astype(np.float32)
            weights.append((term, np.float32(repeats) * inverse))
        scores = {}
        for identifier, counts in self.counts.items():
            score = 0.0
            for term, weight in weights:
                if term in counts:
                    saturation = np.float32(1) + np.float32(counts[term]) * self.factors[identifier]
                    score += float(weight - weight / saturation)
            if score > 0:
                scores[identifier] = float(np.float32(score))
        return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))[:k]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return {product.asin: product.search_text for product in Catalogue.generate(400, seed=3)}


@pytest.fixture(scope="module")
def stored(generated: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return build(tmp_path_factory.mktemp("index"), generated)


@pytest.fixture(scope="module")
def queries(generated: dict[str, str]) -> list[str]:
    rng = random.Random(5)
    words = [text.split() for text in generated.values()]
    drawn = [" ".join(rng.sample(rng.choice(words)[:30], rng.randint(2, 8))) for _ in range(195)]
    return [*drawn, "", "unheard of", "lamp lamp lamp the", drawn[0], drawn[1]]


def test_two_hundred_queries_of_generated_products_rank_as_by_brute_force(
    generated: dict[str, str], stored: SearchIndex, queries: list[str]
) -> None:
    reference = BruteForce(generated)
    expected = [reference.search(query, 50) for query in queries]
    assert [stored.search(query) for query in queries] == expected
    assert stored.search_many(queries) == expected
    in_memory = SearchIndex(list(generated), list(generated.values()))
    assert [in_memory.search(query) for query in queries] == expected
    assert in_memory.search_many(queries) == expected


@settings(max_examples=40, deadline=None)
@given(
    corpora, st.lists(st.lists(st.sampled_from((*WORDS, "unheard")), max_size=8).map(" ".join), max_size=5), st.data()
)
def test_any_corpus_ranks_as_by_brute_force_in_memory_and_stored(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, str], wanted: list[str], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, 60))
    reference = BruteForce(documents)
    expected = [reference.search(query, k) for query in wanted]
    index = build(tmp_path_factory.mktemp("index"), documents)
    assert len(index) == len(documents)
    assert index.search_many(wanted, k) == expected
    assert SearchIndex(list(documents), list(documents.values())).search_many(wanted, k) == expected


@settings(max_examples=20, deadline=None)
@given(corpora, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_change_a_byte_of_the_files(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, str], rng: random.Random
) -> None:
    first, second = tmp_path_factory.mktemp("index"), tmp_path_factory.mktemp("index")
    build(first, documents)
    permuted = list(documents.items())
    rng.shuffle(permuted)
    build(second, dict(permuted))
    assert sorted(path.stem for path in first.iterdir()) == NAMES
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_blocks_and_spooling_do_not_change_a_byte_of_the_files(
    tmp_path: Path, generated: dict[str, str], stored: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "whole", generated)
    monkeypatch.setattr(index_builder, "_BLOCK", 7)
    monkeypatch.setattr(index_builder, "_COUNTED_TOKENS", 1000)
    build(tmp_path / "pieces", generated)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "pieces" / path.name).read_bytes(), path.name


def test_an_identifier_that_was_added_twice_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "index")
    for identifier in ("B", "A", "C", "A"):
        builder.add(identifier, "lamp")
    with pytest.raises(ValueError, match="'A' occurs more than once"):
        builder.finish()
    assert list((tmp_path / "index").iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "damage", ["missing", "short", "empty", "longer axis", "two axes", "other type", "pickle", "text"]
)
def test_a_damaged_file_is_named_when_the_index_is_opened(tmp_path: Path, name: str, damage: str) -> None:
    build(tmp_path, {"A": "lamp red", "B": "lamp", "C": "table"})
    path = tmp_path / f"{name}.npy"
    array = np.load(path)
    match damage:
        case "missing":
            path.unlink()
        case "short":
            path.write_bytes(path.read_bytes()[:-1])
        case "empty":
            path.write_bytes(b"")
        case "longer axis":
            np.save(path, np.append(array, array[-1:] + array.dtype.type(1)))
        case "two axes":
            np.save(path, array[None])
        case "other type":
            np.save(path, array.astype(np.float64))
        case "pickle":
            np.save(path, array.astype(object), allow_pickle=True)
        case "text":
            path.write_text("not an array")
    with pytest.raises(CatalogueError, match=r"\.npy.*import the catalogue again") as caught:
        SearchIndex.open(tmp_path)
    # Of two arrays that do not fit each other, either may be the damaged one.
    assert name in str(caught.value) or damage == "longer axis"


@pytest.mark.parametrize("name", ["identifier_starts", "term_starts", "posting_starts"])
def test_offsets_that_do_not_ascend_are_refused(tmp_path: Path, name: str) -> None:
    build(tmp_path, {"A": "lamp red", "B": "lamp", "C": "table"})
    offsets = np.load(tmp_path / f"{name}.npy")
    offsets[1] = 1 << 40
    np.save(tmp_path / f"{name}.npy", offsets)
    with pytest.raises(CatalogueError, match=name):
        SearchIndex.open(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    build(folder, {"A": "lamp red", "B": "lamp usb", "C": "table lamp lamp", "D": ""})
    return folder


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of arithmetic with damaged numbers
@given(st.sampled_from(NAMES), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_overwritten_bytes_give_an_error_or_wrong_hits_but_never_a_crash(
    small: Path, name: str, place: int, content: bytes
) -> None:
    path = small / f"{name}.npy"
    intact = path.read_bytes()
    place %= len(intact)
    path.write_bytes((intact[:place] + content + intact[place + len(content) :])[: len(intact)])
    try:
        hits = SearchIndex.open(small).search("lamp red table")
    except ValueError:  # CatalogueError, or identifiers that are no UTF-8
        return
    finally:
        path.write_bytes(intact)
    assert len(hits) <= 4


def test_a_full_disk_is_an_error_not_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    builder = IndexBuilder(tmp_path)
    builder.add("A", "lamp")
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        builder.finish()


def test_a_stored_index_is_pickled_as_its_path(stored: SearchIndex, queries: list[str]) -> None:
    pickled = pickle.dumps(stored)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).search_many(queries) == stored.search_many(queries)  # noqa: S301  (pickled here)


def test_an_index_in_memory_is_pickled_whole(generated: dict[str, str], queries: list[str]) -> None:
    index = SearchIndex(list(generated), list(generated.values()))
    copy = pickle.loads(pickle.dumps(index))  # noqa: S301  (pickled here)
    assert copy.search_many(queries) == index.search_many(queries)


def test_threads_find_what_one_finds(stored: SearchIndex, queries: list[str]) -> None:
    expected = [stored.search(query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(stored.search, queries)) == expected


def found_in_child(connection: Connection, index: SearchIndex, queries: list[str]) -> None:
    connection.send(index.search_many(queries))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # pools of other tests may still be up
def test_a_forked_process_finds_the_same(stored: SearchIndex, queries: list[str]) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=found_in_child, args=(theirs, stored, queries[:20]))
    child.start()
    found = ours.recv()
    child.join()
    assert found == stored.search_many(queries[:20])


def test_odd_identifiers_come_back_unchanged(tmp_path: Path) -> None:
    documents = dict.fromkeys(("A\0", "A", "\ud800", "é", "", "z" * 300), "lamp")
    assert [identifier for identifier, _ in build(tmp_path, documents).search("lamp")] == sorted(documents)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), st.lists(st.sampled_from(WORDS), max_size=2))
def test_a_batch_with_repeats_gives_lists_of_their_own(query: str, others: list[str]) -> None:
    index = SearchIndex(["A", "B"], ["red lamp", "table lamp"])
    first, *_, last = found = index.search_many([query, *others, query])
    assert found == [index.search(wanted) for wanted in [query, *others, query]]
    assert first is not last
