"""What an embedding store holds and finds: documents, and hits.

This module knows the form of a document, its bounds and how its fields are written to bytes; not where they are kept.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from sightline.retrieval.errors import DuplicateDocumentError, InvalidDocumentError
from sightline.retrieval.store.checksums import record_checksum
from sightline.retrieval.store.filters import StoredScalar, stored_attributes
from sightline.retrieval.store.metadata import (
    MetadataValue,
    checked_metadata,
    metadata_from_json,
    metadata_json,
    tagged,
)

if TYPE_CHECKING:
    from sightline.retrieval.text.protocol import Vectors

MAX_ID_CHARACTERS = 512
MAX_CONTENT_CHARACTERS = 1_000_000
MAX_METADATA_BYTES = 65_536

_Metadata = Annotated[
    dict[str, MetadataValue],
    PlainValidator(checked_metadata),
    PlainSerializer(tagged, return_type=dict[str, Any], when_used="json"),
]


class Document(BaseModel):
    """A text with an id of its own and whatever else is known of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    id: str = Field(min_length=1, max_length=MAX_ID_CHARACTERS)
    """Unique within a store."""
    content: str = Field(min_length=1, max_length=MAX_CONTENT_CHARACTERS)
    """The text that is embedded. Lone surrogates are no text: `text.encode("utf-8", "replace").decode()` drops them."""
    metadata: _Metadata = Field(default_factory=dict)
    """JSON values, dates and datetimes to filter by; at most 65,536 bytes as JSON, whole numbers in 64 bits. A time
    zone comes back as its offset from UTC."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A document that was found, and its cosine similarity to the query (-1 to 1)."""

    document: Document
    score: float
    vector: Vectors | None = field(default=None, compare=False, repr=False)
    """`[D]`, its unit vector, where the search was asked for it; read-only."""


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some documents of a store, in the order of their ids."""

    documents: tuple[Document, ...]
    after: str | None
    """What to give as `after` for the next page; None if this is the last one."""
    vectors: Vectors | None = field(default=None, compare=False, repr=False)
    """`[n, D]`, their unit vectors, where they were asked for."""


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """What became of a store since a mark was taken."""

    documents: Iterator[Document]
    """Documents that were written since; all of them where `is_complete`."""
    deleted: tuple[str, ...]
    """Ids of documents that are no longer there; empty where `is_complete`."""
    is_complete: bool
    """Whether the documents are all that the store holds, because nobody knows any more what was written since."""
    mark: str
    """What to give the next time."""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document as it is kept: UTF-8, and metadata as ASCII JSON, in which lone surrogates may stand."""

    id: bytes
    content: bytes
    metadata: str
    attributes: frozenset[tuple[bytes, StoredScalar]]
    """Pairs of metadata key and value that filters can ask for."""

    @property
    def checksum(self) -> int:
        """CRC-32 of the fields that are kept."""
        return record_checksum(self.id, self.content, self.metadata)


def document_records(documents: Iterable[Document]) -> list[DocumentRecord]:
    """Check documents and bring them into the form in which they are kept.

    Raises:
        TypeError: something is not a `Document`.
        DuplicateDocumentError: an id comes twice.
        InvalidDocumentError: metadata is too large, or a number in it exceeds 64 bits.
    """
    records, seen = [], set()
    for document in documents:
        if not isinstance(document, Document):
            raise TypeError(f"expected a Document, not {reprlib.repr(document)}; write Document(id=..., content=...)")
        if document.id in seen:
            raise DuplicateDocumentError(f"two documents have the id {document.id!r}; ids must be unique")
        seen.add(document.id)
        records.append(document_record(document))
    return records


def stored_text(text: str) -> bytes:
    """Return UTF-8 in which lone surrogates pass; its byte order is the order of code points."""
    return text.encode("utf-8", "surrogatepass")


def document_from(document_id: bytes, content: bytes, metadata: str) -> Document:
    """Return the document of a record's fields."""
    return Document(
        id=document_id.decode("utf-8", "surrogatepass"),
        content=content.decode("utf-8", "surrogatepass"),
        metadata=metadata_from_json(metadata),
    )


def document_record(document: Document) -> DocumentRecord:
    """Bring one document into the form in which it is kept.

    Raises:
        InvalidDocumentError: metadata is too large, a number in it exceeds 64 bits, or an instant the years of UTC.
    """
    metadata = metadata_json(document.metadata)
    if len(metadata) > MAX_METADATA_BYTES:
        raise InvalidDocumentError(
            f"document {document.id!r}: its metadata is {len(metadata):,} bytes of JSON, more than "
            f"{MAX_METADATA_BYTES:,}; keep long texts in content"
        )
    try:
        attributes = frozenset(stored_attributes(document.metadata))
    except OverflowError as error:
        raise InvalidDocumentError(f"document {document.id!r}: metadata {error}; write it as a string") from None
    return DocumentRecord(stored_text(document.id), stored_text(document.content), metadata, attributes)
