"""Prints how long a query takes at 1,000 and 100,000 made-up documents, and how long their index takes to build.

Run: python benchmarks/search.py
"""

from __future__ import annotations

import time

import numpy as np

from sightline.webshop_env.search import SearchIndex

VOCABULARY = 50_000
WORDS_PER_DOCUMENT = 65
WORDS_PER_QUERY = 6
QUERIES = 500
SYLLABLES = np.array([consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"])


def made_up_words(count: int) -> np.ndarray:
    """Return ``count`` different words; a word's place in the list spells its syllables."""
    places = np.arange(count)
    return SYLLABLES[places % 70] + SYLLABLES[places // 70 % 70] + SYLLABLES[places // 4900 % 70]


def sentences(rng: np.random.Generator, words: np.ndarray, *, count: int, length: int) -> list[str]:
    """Draw texts whose words follow Zipf's law, as those of a catalogue do."""
    weights = 1 / np.arange(1, len(words) + 1)
    draws = rng.choice(len(words), size=(count, length), p=weights / weights.sum())
    return [" ".join(words[row]) for row in draws]


def main() -> None:
    rng = np.random.default_rng(0)
    words = made_up_words(VOCABULARY)
    print(f"{'documents':>10} {'build s':>9} {'median ms':>10} {'p99 ms':>8}")
    for count in (1_000, 100_000):
        documents = sentences(rng, words, count=count, length=WORDS_PER_DOCUMENT)
        begin = time.perf_counter()
        index = SearchIndex([f"B{number:09d}" for number in range(count)], documents)
        build = time.perf_counter() - begin
        elapsed = []
        for query in sentences(rng, words, count=QUERIES, length=WORDS_PER_QUERY):
            begin = time.perf_counter()
            index.search(query)
            elapsed.append(1e3 * (time.perf_counter() - begin))
        print(f"{count:>10,} {build:>9.2f} {np.median(elapsed):>10.3f} {np.percentile(elapsed, 99):>8.3f}")


if __name__ == "__main__":
    main()
