"""What can go wrong in an embedding store, one exception for each; all derive from `StoreError` and a fitting builtin.

This module knows nothing of how a store works.
"""

from __future__ import annotations

from typing import Final

REMEDY: Final = "restore it from a backup, or keep what is sound with LocalEmbeddingStore.repair"
"""What to do about damage, for the messages of `StoreDamagedError`."""


class StoreError(Exception):
    """Any failure that an embedding store reports itself."""


class InvalidDocumentError(StoreError, ValueError):
    """A document, or a vector given for it, cannot be stored as it is."""


class DuplicateDocumentError(StoreError, ValueError):
    """An id is in the store already, or twice in one call."""


class UnknownDocumentError(StoreError, KeyError):
    """The store has no document of this id."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class InvalidQueryError(StoreError, ValueError):
    """A query, or a parameter of a search, is out of range."""


class FilterError(StoreError, ValueError):
    """A metadata filter does not follow the grammar, or exceeds its bounds."""


class EncoderMismatchError(StoreError, ValueError):
    """The store holds vectors of another encoder; comparing them with this one's would mean nothing."""


class EncoderOutputError(StoreError, ValueError):
    """An encoder gave vectors that are not what it promised."""


class EncoderUnavailableError(StoreError, ConnectionError):
    """The server of an encoder cannot be reached or is overloaded; trying again later may help."""


class StoreLockedError(StoreError, RuntimeError):
    """Someone else has the store open for writing."""


class ReadOnlyStoreError(StoreError, RuntimeError):
    """The store was opened for reading only."""


class StoreClosedError(StoreError, RuntimeError):
    """The store was closed."""


class StoreNotClosedError(StoreError, RuntimeError):
    """The last writer died, and what it left cannot be read without the right to write."""


class StoreDamagedError(StoreError, ValueError):
    """A file of the store is not what the others say it is."""


class ForeignFolderError(StoreError, ValueError):
    """The folder, or a file in it, is not a store's, so no store is made there."""


class StaleGenerationError(StoreError, RuntimeError):
    """A compaction renumbered the rows while something was computed from them; searches try again by themselves."""
