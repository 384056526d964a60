"""BM25 over words, kept up to date change by change: in memory, or in one SQLite file that survives a kill.

Each write adds a segment: for every word the numbers of the documents that have it, with its counts. Numbers are never
used twice, so a document is deleted by forgetting its number; small segments are merged as they become many. Scores are
those of an index made anew at every moment. This module does not know where documents are kept or what is done with
what is found.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.store.document import stored_text
from sightline.retrieval.text.words import Tokenizer, tokenizer_name, words

_FORMAT: Final = 1
_MAX_SEGMENTS: Final = 24
_SMALL_SHARE: Final = 8  # of more than 24 segments some always hold at most an eighth
_BUSY_SECONDS: Final = 30.0
_NUMBERS: Final = "<u4"

_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, length INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE postings (
    word BLOB NOT NULL, segment INTEGER NOT NULL, numbers BLOB NOT NULL, counts BLOB NOT NULL,
    PRIMARY KEY (word, segment)
) WITHOUT ROWID;
CREATE TABLE segments (segment INTEGER PRIMARY KEY, documents INTEGER NOT NULL);
"""


class WordIndex:
    """Documents by the words that they share with a query; safe to use from several threads and processes.

    BM25 is Lucene's variant (Kamphuis et al. 2020): a word that is in n of N documents, and f times in this one, adds
    `ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))`.

    Args:
        path: file of the index, made if need be; None to keep it in memory.
        tokenizer: function from a text to its words; the default also knows scripts without spaces.
        k1: saturation of the count of a word, at least 0.
        b: weight of the length of a document, 0 to 1.

    Raises:
        ValueError: the file is that of another tokenizer or no index, or a number is out of range.
    """

    def __init__(
        self, path: str | Path | None = None, *, tokenizer: Tokenizer = words, k1: float = 1.5, b: float = 0.75
    ) -> None:
        if not (k1 >= 0 and 0 <= b <= 1):
            raise ValueError(f"k1 must be at least 0 and b between 0 and 1, not {k1!r} and {b!r}")
        self.tokenizer = tokenizer
        self._k1, self._b = k1, b
        self._lock = threading.Lock()
        self._path = path
        self._connection = sqlite3.connect(
            ":memory:" if path is None else path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise
        self._seen = -1  # version of the file that `_lengths` is of
        self._lengths = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of documents."""
        with self._lock:
            return self._one("SELECT count(*) FROM documents")

    def mark(self) -> str | None:
        """Return what the last `change` noted; None before the first."""
        with self._lock:
            return self._noted("mark")

    def ids(self) -> set[str]:
        """Return the ids of all documents."""
        with self._lock:
            return {_text(stored) for (stored,) in self._connection.execute("SELECT id FROM documents")}

    def change(self, upserts: Mapping[str, str], deletes: Iterable[str] = (), *, mark: str | None = None) -> None:
        """Index texts and forget others, all or none; texts that are indexed as they are cost a look-up.

        Args:
            upserts: texts by id; they take the place of those that have their ids.
            deletes: ids to forget; those that are not there are passed over.
            mark: note to keep with the change, such as the state of the store that it brings the index to.

        Raises:
            sqlite3.Error: the file cannot be written; nothing was changed.
        """
        with self._lock, self._transaction():
            self._present_lengths()
            known = {stored_text(key): _digest(text) for key, text in upserts.items()}
            present = {stored: self._entry(stored) for stored in {*known, *map(stored_text, deletes)}}
            same = {stored for stored, digest in known.items() if present[stored] == (present[stored][0], digest)}
            gone = [number for stored, (number, _) in present.items() if number is not None and stored not in same]
            counted = {
                stored_text(key): Counter(self.tokenizer(text))
                for key, text in upserts.items()
                if stored_text(key) not in same
            }
            self._connection.executemany("DELETE FROM documents WHERE number = ?", ((number,) for number in gone))
            added = self._add_segment(counted, known) if counted else np.zeros(0, dtype=np.int64)
            if mark is not None:
                self._note("mark", mark)
            if gone or counted:
                self._note("version", str(self._seen + 1))
                lengths = np.concatenate([self._lengths, added])
                lengths[gone] = 0
                if self._one("SELECT count(*) FROM segments") > _MAX_SEGMENTS:
                    self._merge(lengths > 0)
                self._connection.execute("COMMIT")
                self._lengths, self._seen = lengths, self._seen + 1

    def search(self, query: str, top_k: int) -> list[tuple[str, float]]:
        """Return ids of documents that share a word with the query, with their scores.

        Args:
            query: text of any words.
            top_k: most documents to return.

        Returns:
            Best first; of equal scores the document that was indexed first.
        """
        with self._lock:
            lengths = self._present_lengths()
            alive = lengths > 0
            count = int(np.count_nonzero(alive))
            scores = np.zeros(len(lengths))
            if not count:
                return []
            norms = self._k1 * (1.0 - self._b + self._b * lengths / (lengths.sum() / count))
            for word, times in Counter(self.tokenizer(query)).items():
                numbers, counts = self._postings_of(stored_text(word), alive)
                weight = times * np.log1p((count - len(numbers) + 0.5) / (len(numbers) + 0.5))
                scores[numbers] += weight * counts / (counts + norms[numbers])
            found = np.flatnonzero(scores > 0)
            if len(found) > top_k:
                least = np.partition(scores[found], len(found) - top_k)[len(found) - top_k]
                found = found[scores[found] >= least]
            best = found[np.argsort(-scores[found], kind="stable")][:top_k]
            ids = [self._connection.execute("SELECT id FROM documents WHERE number = ?", (int(n),)) for n in best]
            return [(_text(row.fetchone()[0]), float(scores[n])) for row, n in zip(ids, best, strict=True)]

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        run = self._connection.execute
        try:
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
            with self._transaction():
                if not self._one("PRAGMA user_version") and not self._one("SELECT count(*) FROM sqlite_master"):
                    for statement in _TABLES.split(";"):
                        run(statement)
                    kept = [("version", "0"), ("tokenizer", tokenizer_name(self.tokenizer))]
                    self._connection.executemany("INSERT INTO about VALUES (?, ?)", kept)
                    run(f"PRAGMA user_version = {_FORMAT}")
                if self._one("PRAGMA user_version") != _FORMAT:
                    raise ValueError(
                        f"{self._path} is no index of words of format {_FORMAT}; delete it to make it anew"
                    )
                made_with = self._noted("tokenizer")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._path} is no index of words ({error}); delete it to make it anew") from error
        if made_with != tokenizer_name(self.tokenizer):
            raise ValueError(
                f"{self._path} was made with the tokenizer {made_with!r}, not {tokenizer_name(self.tokenizer)!r}; "
                "give that one, or delete the file to make it anew"
            )

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _one(self, query: str) -> int:
        return self._connection.execute(query).fetchone()[0]

    def _noted(self, name: str) -> str | None:
        found = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _note(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def _entry(self, stored: bytes) -> tuple[int | None, bytes | None]:
        """Return the number and the digest of a document; two times None where there is none."""
        query = "SELECT number, digest FROM documents WHERE id = ?"
        return self._connection.execute(query, (stored,)).fetchone() or (None, None)

    def _add_segment(self, counted: Mapping[bytes, Counter[str]], digests: Mapping[bytes, bytes]) -> NDArray[np.int64]:
        """Write documents under the next numbers, and return their lengths."""
        first = len(self._lengths)
        # A document without words has length 1, so that it is told from a number that is gone.
        lengths = [max(counts.total(), 1) for counts in counted.values()]
        self._connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?)",
            (
                (number, stored, length, digests[stored])
                for number, (stored, length) in enumerate(zip(counted, lengths, strict=True), first)
            ),
        )
        self._note("next", str(first + len(counted)))
        found: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for number, counts in enumerate(counted.values(), first):
            for word, times in counts.items():
                numbers, occurrences = found[word]
                numbers.append(number)
                occurrences.append(times)
        segment = self._one("SELECT coalesce(max(segment), 0) + 1 FROM segments")
        self._connection.execute("INSERT INTO segments VALUES (?, ?)", (segment, len(counted)))
        self._write_postings(segment, ((stored_text(word), *found[word]) for word in sorted(found, key=stored_text)))
        return np.array(lengths, dtype=np.int64)

    def _write_postings(self, segment: int, postings: Iterable[tuple[bytes, Collection[int], Collection[int]]]) -> None:
        self._connection.executemany(
            "INSERT INTO postings VALUES (?, ?, ?, ?)",
            (
                (word, segment, np.asarray(numbers, _NUMBERS).tobytes(), np.asarray(counts, _NUMBERS).tobytes())
                for word, numbers, counts in postings
            ),
        )

    def _merge(self, alive: NDArray[np.bool_]) -> None:
        """Write small segments as one; those that hold a good part of all documents stay, as they would take long."""
        sizes = dict(self._connection.execute("SELECT segment, documents FROM segments"))
        merged = [segment for segment, size in sizes.items() if _SMALL_SHARE * size <= sum(sizes.values())]
        listed = ", ".join(map(str, merged))
        gathered: defaultdict[bytes, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = defaultdict(list)
        for word, numbers, counts in self._connection.execute(
            f"SELECT word, numbers, counts FROM postings WHERE segment IN ({listed}) ORDER BY word, segment"
        ):
            gathered[word].append(_living(numbers, counts, alive))
        self._connection.execute(f"DELETE FROM postings WHERE segment IN ({listed})")
        self._connection.execute(f"DELETE FROM segments WHERE segment IN ({listed})")
        joined = ((word, *map(np.concatenate, zip(*parts, strict=True))) for word, parts in gathered.items())
        self._write_postings(merged[-1], (entry for entry in joined if len(entry[1])))
        self._connection.execute("INSERT INTO segments VALUES (?, ?)", (merged[-1], sum(sizes[one] for one in merged)))

    def _postings_of(self, word: bytes, alive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = self._connection.execute("SELECT numbers, counts FROM postings WHERE word = ? ORDER BY segment", (word,))
        parts = [_living(numbers, counts, alive) for numbers, counts in rows]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        numbers, counts = map(np.concatenate, zip(*parts, strict=True))
        return numbers, counts

    def _present_lengths(self) -> NDArray[np.int64]:
        """Return the length of the document of each number; 0 for those that are gone."""
        version = int(self._noted("version") or 0)
        if version != self._seen:
            self._lengths, self._seen = self._read_lengths(), version
        return self._lengths

    def _read_lengths(self) -> NDArray[np.int64]:
        next_number = int(self._noted("next") or 0)
        rows = self._connection.execute("SELECT number, length FROM documents")
        kept = np.fromiter((value for row in rows for value in row), dtype=np.int64).reshape(-1, 2)
        lengths = np.zeros(next_number, dtype=np.int64)
        lengths[kept[:, 0]] = kept[:, 1]
        return lengths


def _digest(text: str) -> bytes:
    return hashlib.blake2b(stored_text(text), digest_size=8).digest()


def _living(numbers: bytes, counts: bytes, alive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    decoded = np.frombuffer(numbers, _NUMBERS).astype(np.int64)
    kept = alive[decoded]
    return decoded[kept], np.frombuffer(counts, _NUMBERS).astype(np.int64)[kept]


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")
