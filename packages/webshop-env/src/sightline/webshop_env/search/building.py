"""Turn documents into the arrays of a search index, in memory or as files, in bounded memory.

This module knows the arithmetic of the index. It does not know queries or ranking, nor what a document is about.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the form that
Lucene computes: single precision, and document lengths kept in one byte.
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sightline.webshop_env.search.analysis import search_terms
from sightline.webshop_env.search.files import FolderStorage, IndexArrays, Storage

_K1: Final = np.float32(0.9)
_B: Final = np.float32(0.4)

_COUNTED_TOKENS: Final = 1 << 22
"""How many tokens are held before they are counted and written away."""

_BLOCK: Final = 1 << 14
"""How many documents are sorted by term at a time."""


class IndexBuilder:
    """Builds a stored index from documents that come one by one, in any order.

    Memory holds the identifiers, the distinct terms and one block of documents; the rest lies in a temporary file in
    the folder, which goes even if the process is killed. The same documents give the same files in whatever order.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder where it does not exist.

        Args:
            folder: folder to which `finish` writes; its files are opened by `open`.

        Raises:
            OSError: if it cannot be written there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._storage = FolderStorage(folder)
        self._collection = _Collection(self._storage)

    def add(self, identifier: str, document: str) -> None:
        """Index one document; ties in the ranking are ordered by `identifier`, ascending."""
        self._collection.add(identifier, document)

    def finish(self) -> None:
        """Write the files, once; before this the folder holds no index.

        Raises:
            ValueError: if an identifier was added twice; nothing is written then.
            OSError: if the files cannot be written.
        """
        self._collection.write()
        self._storage.flush()


def build_in_memory(pairs: Iterable[tuple[str, str]]) -> IndexArrays:
    """Index pairs of identifier and document.

    Raises:
        ValueError: if an identifier occurs twice.
    """
    storage = Storage()
    collection = _Collection(storage)
    for identifier, document in pairs:
        collection.add(identifier, document)
    collection.write()
    return IndexArrays(**storage.arrays)


class _Collection:
    """Documents in the order in which they came, as pairs of a term (in order of first use) and how often it occurs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pairs = storage.spool()
        # An abandoned collection must not leave an open file to the garbage collector.
        weakref.finalize(self, self._pairs.close)
        self._identifiers: list[str] = []
        self._terms: dict[str, int] = {}
        self._tokens = array("i")
        self._lengths = array("i")
        self._sizes: list[npt.NDArray[np.int64]] = []
        self._holders = np.empty(0, dtype=np.int64)
        self._counted = 0

    def add(self, identifier: str, document: str) -> None:
        known = self._terms
        terms = [known.setdefault(term, len(known)) for term in search_terms(document)]
        self._identifiers.append(identifier)
        self._lengths.append(len(terms))
        self._tokens.extend(terms)
        if len(self._tokens) >= _COUNTED_TOKENS:
            self._count()

    def _count(self) -> None:
        """Count how often each term occurs in each of the latest documents, and write that away."""
        lengths = np.array(self._lengths[self._counted :], dtype=np.int64)
        width = max(len(self._terms), 1)
        keys = np.repeat(np.arange(len(lengths)) * width, lengths) + np.array(self._tokens, dtype=np.int64)
        keys, frequencies = np.unique(keys, return_counts=True)
        documents, terms = np.divmod(keys, width)
        self._pairs.write(np.stack([terms, frequencies], axis=1).astype(np.int32).data)
        self._sizes.append(np.bincount(documents, minlength=len(lengths)))
        holders = np.bincount(terms, minlength=len(self._terms))
        holders[: len(self._holders)] += self._holders
        self._holders = holders
        self._tokens = array("i")
        self._counted = len(self._lengths)

    def write(self) -> None:
        """Fill the arrays of `IndexArrays`."""
        order = sorted(range(len(self._identifiers)), key=self._identifiers.__getitem__)
        identifiers = [self._identifiers[place] for place in order]
        for identifier, following in pairwise(identifiers):
            if identifier == following:
                raise ValueError(f"identifiers must be unique, but {identifier[:200]!r} occurs more than once")
        self._count()
        terms = sorted(self._terms)
        first_uses = np.array([self._terms[term] for term in terms], dtype=np.int64)
        self._storage.allocate_strings("identifiers", "identifier_starts", identifiers)
        self._storage.allocate_strings("terms", "term_starts", terms)
        lengths = np.array(self._lengths, dtype=np.int64)
        # As in Lucene, a document without any term is not part of the statistics; the floors are for an empty index.
        filled = max(int(np.count_nonzero(lengths)), 1)
        self._write_term_statistics(self._holders[first_uses], filled)
        numbers = np.empty(len(terms), dtype=np.int64)
        numbers[first_uses] = np.arange(len(terms))
        average_length = np.float32(max(lengths.sum(), 1) / filled)
        self._write_postings(np.array(order, dtype=np.int64), numbers, _length_factors(lengths, average_length))

    def _write_term_statistics(self, document_frequency: npt.NDArray[np.int64], filled: int) -> None:
        starts = self._storage.allocate("posting_starts", len(document_frequency) + 1)
        starts[0] = 0
        np.cumsum(document_frequency, out=starts[1:])
        inverse = np.log(1 + (filled - document_frequency + 0.5) / (document_frequency + 0.5))
        self._storage.allocate("frequencies_inverse", len(document_frequency))[:] = inverse

    def _write_postings(
        self, order: npt.NDArray[np.int64], term_numbers: npt.NDArray[np.int64], factors: npt.NDArray[np.float32]
    ) -> None:
        """Sort block by block and put each posting in its place.

        Args:
            order: [N], places of the documents as they came, in the order of their identifiers.
            term_numbers: [T], the number of each term, in the order of first use.
            factors: [N], `c` of each document, as they came.
        """
        pairs = self._storage.read(self._pairs).reshape(-1, 2)
        documents = self._storage.allocate("documents", len(pairs))
        saturations = self._storage.allocate("saturations", len(pairs))
        peaks = self._storage.allocate("peaks", len(term_numbers))
        peaks[:] = 1
        sizes = np.concatenate(self._sizes)
        begins = np.cumsum(sizes) - sizes
        free = self._storage.arrays["posting_starts"][:-1].copy()
        for first in range(0, len(order), _BLOCK):
            block = order[first : first + _BLOCK]
            owners = np.repeat(np.arange(len(block)), sizes[block])
            within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes[block]) - sizes[block], sizes[block])
            terms, frequencies = pairs[begins[block][owners] + within].T
            terms = term_numbers[terms]
            by_term = np.argsort(terms * _BLOCK + owners)
            owners = owners[by_term]
            held, heads, counts = np.unique(terms[by_term], return_index=True, return_counts=True)
            places = np.repeat(free[held] - heads, counts) + np.arange(len(owners))
            free[held] += counts
            saturation = np.float32(1) + frequencies[by_term].astype(np.float32) * factors[block][owners]
            documents[places] = first + owners
            saturations[places] = saturation
            if len(held):
                peaks[held] = np.maximum(peaks[held], np.maximum.reduceat(saturation, heads))
            self._storage.release()


def _length_factors(lengths: npt.NDArray[np.int64], average_length: np.float32) -> npt.NDArray[np.float32]:
    """`c = 1 / (k1 * (1 - b + b * dl / avgdl))` of documents with that many tokens [N]: [N] float32."""
    one = np.float32(1)
    kept_lengths = _one_byte_lengths(lengths).astype(np.float32)
    return one / (_K1 * ((one - _B) + _B * kept_lengths / average_length))


def _one_byte_lengths(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Round token counts [N] down to what one byte keeps: exact up to 40, then 4 significant bits above 24."""
    beyond = np.maximum(lengths - 24, 0)
    _, bits = np.frexp(beyond.astype(np.float64))
    shift = np.maximum(bits.astype(np.int64) - 4, 0)
    return np.where(lengths <= 24, lengths, 24 + (beyond >> shift << shift))
