"""How fast search is, how long an index takes to build and how large it is, beside bm25s and Tantivy where installed.

    uv run packages/webshop-env/benchmarks/search.py --documents 100000
    uv run packages/webshop-env/benchmarks/search.py --catalogue FOLDER

Two corpora. "generated": the made-up products of the package, of few words, so that posting lists are long. "Zipf":
words drawn by Zipf's law from a vocabulary of 50,000, as those of a real catalogue are. Queries are 2 to 8 consecutive
words of instructions and titles, or 6 words by Zipf's law; "whole" are instructions and titles in full. One thread,
after a warm-up; `cpu` is the median of the thread's own time, which a busy machine changes less. With a stored
catalogue, its own index is measured, and 200 rankings are compared with `brute_force.py`, which reads every product.

The rivals say what speed may be expected; neither can stand in. Tantivy's k1 and b are fixed at 1.2 and 0.75. bm25s
computes other scores: lengths are not rounded to one byte, and impacts are added up in single precision.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from brute_force import rank_all

from sightline.webshop_env import Catalogue, build_goals
from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.search.analysis import search_terms
from sightline.webshop_env.search.building import IndexBuilder
from sightline.webshop_env.search.index import SearchIndex

QUERIES = 300
SYLLABLES = np.array([consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"])
CHUNK = 20_000

Documents = list[tuple[str, str]]
Search = Callable[[str], object]


def generated(count: int) -> tuple[Documents, dict[str, list[str]]]:
    """Products in chunks of different seeds, so that few are in memory; asins that come twice are dropped."""
    rng = random.Random(0)
    documents: dict[str, str] = {}
    texts: list[str] = []
    for seed in range(2 + 2 * count // CHUNK):
        for product in generate_products(min(CHUNK, count), seed):
            documents.setdefault(product.asin, product.search_text)
            if rng.random() < 2 * QUERIES / count:
                texts += [product.title.lower(), *(human.text for human in product.human[:1])]
        if len(documents) >= count:
            break
    return list(documents.items())[:count], queries_from(texts, rng)


def queries_from(texts: Sequence[str], rng: random.Random) -> dict[str, list[str]]:
    """Consecutive words of random texts, and random texts in full."""
    short = []
    for text in rng.sample(texts, QUERIES):
        words, length = text.split(), rng.randint(2, 8)
        start = rng.randint(0, max(len(words) - length, 0))
        short.append(" ".join(words[start : start + length]))
    return {"2 to 8 words": short, "whole": rng.sample(texts, QUERIES)}


def zipf(count: int, vocabulary: int = 50_000, length: int = 65) -> tuple[Documents, dict[str, list[str]]]:
    """Made-up words; a word's place in the list spells its syllables."""
    places = np.arange(vocabulary)
    words = SYLLABLES[places % 70] + SYLLABLES[places // 70 % 70] + SYLLABLES[places // 4900 % 70]
    weights = 1 / np.arange(1, vocabulary + 1)
    rng = np.random.default_rng(0)

    def sentences(number: int, length: int) -> Iterator[str]:
        for start in range(0, number, CHUNK):
            size = (min(CHUNK, number - start), length)
            for row in rng.choice(vocabulary, size=size, p=weights / weights.sum()):
                yield " ".join(words[row])

    documents = [(f"B{number:09d}", text) for number, text in enumerate(sentences(count, length))]
    return documents, {"6 words": list(sentences(QUERIES, 6))}


def build(documents: Documents, folder: Path) -> SearchIndex:
    builder = IndexBuilder(folder)
    for identifier, text in documents:
        builder.add(identifier, text)
    builder.finish()
    return SearchIndex.open(folder)


def bm25s_search(documents: Documents) -> Search:
    import bm25s

    retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    retriever.index([search_terms(text) for _, text in documents], show_progress=False)
    return lambda query: retriever.retrieve([search_terms(query)], k=50, show_progress=False)


def tantivy_search(documents: Documents) -> Search:
    import tantivy

    schema = tantivy.SchemaBuilder()
    schema.add_text_field("text", tokenizer_name="en_stem")
    schema.add_text_field("identifier", stored=True, tokenizer_name="raw")
    index = tantivy.Index(schema.build())
    writer = index.writer(num_threads=1)
    for identifier, text in documents:
        writer.add_document(tantivy.Document(text=text, identifier=identifier))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: str) -> object:
        words = " ".join(term for term in search_terms(query) if term.isalnum())
        hits = searcher.search(index.parse_query(words, ["text"]), 50).hits
        return [searcher.doc(address)["identifier"] for _, address in hits]

    return search


def report(name: str, kind: str, search: Search, queries: Sequence[str]) -> None:
    for query in queries[:100]:
        search(query)
    wall, cpu = [], []
    for query in queries:
        begin, own = time.perf_counter(), time.thread_time()
        search(query)
        cpu.append(1e3 * (time.thread_time() - own))
        wall.append(1e3 * (time.perf_counter() - begin))
    p99 = np.percentile(wall, 99)
    print(f"  {name:<18} {kind:<13} {np.median(wall):>8.3f} {p99:>8.3f} {statistics.median(cpu):>8.3f}", flush=True)


def measure_stored(folder: Path) -> None:
    """Time the index of a stored catalogue and hold its rankings against every product's text."""
    catalogue = Catalogue.open(folder)
    goals = build_goals(catalogue, "human", 42).goals
    rng = random.Random(0)
    chosen = [goals[rng.randrange(len(goals))] for _ in range(2 * QUERIES)]
    queries = queries_from([text for goal in chosen for text in (goal.instruction_text, goal.name.lower())], rng)
    index = catalogue.search_index()
    print(f"{folder}, {len(catalogue):,} products")
    print(f"  {'':<18} {'queries':<13} {'median':>8} {'p99':>8} {'cpu':>8}  ms, load {os.getloadavg()[0]:.1f}")
    for kind, texts in queries.items():
        report("stored", kind, index.search, texts)
    compared = queries["2 to 8 words"][:150] + queries["whole"][:50]
    expected = rank_all(((product.asin, product.search_text) for product in catalogue), compared, 50)
    wrong = sum(index.search(query, 50) != ranking for query, ranking in zip(compared, expected, strict=True))
    print(f"  {len(compared)} rankings and scores against brute force: {wrong} differ")


def measure(corpus: str, documents: Documents, queries: dict[str, list[str]], *, rivals: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        index = build(documents, Path(folder))
        seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        SearchIndex.open(Path(folder))
        opening = 1e3 * (time.perf_counter() - begin)
        megabytes = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
        print(f"{corpus}, {len(documents):,} documents")
        print(f"  built in {seconds:.1f} s, {megabytes:.0f} MB, opened in {opening:.1f} ms")
        print(f"  {'':<18} {'queries':<13} {'median':>8} {'p99':>8} {'cpu':>8}  ms, load {os.getloadavg()[0]:.1f}")
        for kind, texts in queries.items():
            report("stored", kind, index.search, texts)
            begin = time.perf_counter()
            index.search_many(texts)
            print(
                f"  {'search_many':<18} {kind:<13} {1e3 * (time.perf_counter() - begin) / len(texts):>8.3f}  ms a query"
            )
    makers = {"bm25s": bm25s_search, "tantivy": tantivy_search}
    for name, make in makers.items() if rivals else ():
        if importlib.util.find_spec(name) is None:
            print(f"  {name} is not installed")
            continue
        search = make(documents)
        for kind, texts in queries.items():
            report(name, kind, search, texts)
        del search
        gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--no-rivals", action="store_true", help="leave bm25s and Tantivy out")
    parser.add_argument("--catalogue", type=Path, help="a stored catalogue, whose own index is measured instead")
    arguments = parser.parse_args()
    if arguments.catalogue is not None:
        measure_stored(arguments.catalogue)
        return
    for corpus, make in (("generated", generated), ("Zipf", zipf)):
        for count in (1_000, arguments.documents):
            documents, queries = make(count)
            measure(corpus, documents, queries, rivals=not arguments.no_rivals and count > 1_000)


if __name__ == "__main__":
    main()
