"""An encoder that asks another one about every text once, and remembers the answers."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sightline.retrieval.text.cache_file import CacheFile
from sightline.retrieval.text.protocol import QueryEncoder, TextEncoder, Vectors, check_texts

logger = logging.getLogger(__name__)


class CachedEncoder:
    """Remembers the vectors of another encoder by the content of the texts, in memory and, if asked, on disk.

    A text gives the same bytes every time, also when other texts are encoded with it or several threads ask at once.
    Threads encode side by side; only look-ups are serialised. Several processes may share a file: what one has saved,
    the others find. Opening a file reads none of its vectors, and saving writes only what is missing in it.

    Args:
        encoder: the encoder to ask for texts not seen before.
        path: file to look vectors up in, if it exists, and to `save` to; None to keep the cache in memory.

    Raises:
        ValueError: the file is damaged, or it belongs to another encoder.
    """

    def __init__(self, encoder: TextEncoder, path: Path | None = None) -> None:
        self._encoder, self._path = encoder, path
        self._file = None if path is None else CacheFile(path, encoder.name, encoder.dimension)
        self._lock = threading.Lock()
        self._vectors: dict[bytes, Vectors] = {}
        self._unsaved: dict[bytes, Vectors] = {}

    def __reduce__(self) -> tuple[type[CachedEncoder], tuple[TextEncoder, Path | None]]:
        """Pickle the encoder and the path: whoever unpickles it finds what has been saved, and asks for the rest."""
        return CachedEncoder, (self._encoder, self._path)

    @property
    def name(self) -> str:
        """Name of the encoder behind the cache."""
        return self._encoder.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._encoder.dimension

    def __len__(self) -> int:
        """Return the number of texts remembered.

        One that another process saves first counts twice until it is saved here too.
        """
        with self._lock:
            return len(self._unsaved) + (0 if self._file is None else len(self._file))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows, asking the encoder once for every text it has not seen.

        Raises:
            TypeError: a single string was given.
            ValueError: the file is damaged.
        """
        return self._remembered(texts, self._encoder.encode, b"")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode n queries as `[n, dimension]` unit rows, by the other encoder's way with queries if it has one.

        Raises:
            TypeError: a single string was given.
            ValueError: the file is damaged.
        """
        if not isinstance(self._encoder, QueryEncoder):
            return self.encode(texts)
        return self._remembered(texts, self._encoder.encode_queries, b"query\x00")

    def _remembered(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Vectors], kind: bytes) -> Vectors:
        check_texts(texts)
        keys = [hashlib.sha256(kind + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        with self._lock:
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        found = self._file.read(list(missing)) if self._file is not None and missing else {}
        unseen = {key: text for key, text in missing.items() if key not in found}
        encoded = dict(zip(unseen, encode(list(unseen.values())), strict=True)) if unseen else {}
        with self._lock:
            for key, vector in (found | encoded).items():
                # Another thread may have been first; then its bytes are the answer.
                if self._vectors.setdefault(key, vector) is vector and key in encoded:
                    self._unsaved[key] = vector
            rows = [self._vectors[key] for key in keys]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dimension)

    def save(self) -> None:
        """Append to the file, in one transaction, what it does not hold yet.

        Raises:
            ValueError: the cache was made without a path, or the file has meanwhile become another encoder's.
            sqlite3.OperationalError: the file cannot be written; nothing is lost from memory, so it can be tried again.
        """
        if self._file is None:
            raise ValueError("this cache has no file; give CachedEncoder a path to save to")
        with self._lock:
            unsaved = dict(self._unsaved)
        self._file.append(unsaved)
        logger.debug("saved %d vectors", len(unsaved))
        with self._lock:
            for key in unsaved:
                self._unsaved.pop(key, None)  # another thread may have saved it at the same time
