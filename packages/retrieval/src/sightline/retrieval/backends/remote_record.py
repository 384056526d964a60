"""The form of a document in a remote collection: an id any database takes, and fields that its filters can ask for.

The document itself is one JSON text, so that what comes back is what went in, whatever the database makes of numbers,
nulls or nesting. Beside it stand one token for every scalar in the metadata, for equality, and the numbers under every
key, for ranges. This module knows no database.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightline.retrieval.backends.protocol import ForeignRecordError
from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.store.document import Document, document_records, stored_text
from sightline.retrieval.store.filters import Scalar, StoredScalar, stored_key, stored_scalar
from sightline.retrieval.store.metadata import tagged

_NAMESPACE = uuid.UUID("6f0d6a86-7a55-5c0b-9f2c-6f6c5a6d3c11")


@dataclass(frozen=True, slots=True)
class RemoteRecord:
    """A document as a remote collection keeps it."""

    id: str
    """`record_id` of the document's id."""
    document: str
    """The document as JSON."""
    tokens: list[str]
    """`attribute_token` of every scalar in the metadata, sorted."""
    numbers: dict[str, list[float]]
    """Numbers in the metadata, sorted, by `number_field` of their key; whole ones beyond 2**53 are rounded."""


def remote_records(documents: Sequence[Document]) -> list[RemoteRecord]:
    """Check documents and bring them into the form for a remote collection.

    Raises:
        DuplicateDocumentError: an id comes twice.
        InvalidDocumentError: metadata is too large, or a number in it exceeds 64 bits.
        TypeError: something is not a `Document`.
    """
    records = []
    for document, checked in zip(documents, document_records(documents), strict=True):
        numbers: defaultdict[str, list[float]] = defaultdict(list)
        for key, value in checked.attributes:
            if not isinstance(value, bytes):
                numbers[number_field(key)].append(float(value))
        tokens = sorted(_token(key, value) for key, value in checked.attributes)
        by_field = {field: sorted(values) for field, values in sorted(numbers.items())}
        records.append(RemoteRecord(record_id(document.id), _json(document), tokens, by_field))
    return records


def record_id(document_id: str) -> str:
    """Return the UUID (RFC 9562, version 5) that stands for a document's id; always the same one."""
    digest = hashlib.sha1(_NAMESPACE.bytes + stored_text(document_id), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def attribute_token(key: str, value: Scalar) -> str:
    """Return 32 hexadecimal digits that stand for a key with a scalar; equal scalars have equal tokens."""
    return _token(stored_key(key), stored_scalar(value))


def any_of_tokens(key: str, choices: Sequence[Scalar]) -> list[str]:
    """Return the token of every choice; without choices one that no record has, as databases differ about none."""
    return [attribute_token(key, choice) for choice in choices] or ["none"]


def number_field(key: bytes) -> str:
    """Name of the field for the numbers under a stored metadata key: letters and digits, whatever the key is."""
    return f"n{hashlib.sha256(key).hexdigest()[:16]}"


def document_of(document: object, encoder: object, *, expected_encoder: str, place: str) -> Document:
    """Return the document in a record that came back.

    Args:
        document: the record's field of that name, JSON if all is well.
        encoder: the record's field of that name.
        expected_encoder: name of the encoder in use.
        place: name of the collection in an error.

    Raises:
        EncoderMismatchError: the record was written with another encoder.
        ForeignRecordError: the record is not one of this package's.
    """
    if not isinstance(document, str) or not isinstance(encoder, str):
        raise ForeignRecordError(
            f"{place} holds a record without the fields of a document; give the retriever a collection of its own"
        )
    if encoder != expected_encoder:
        raise EncoderMismatchError(
            f"{place} holds vectors of encoder {encoder[:200]!r}, not {expected_encoder!r}; use that encoder, or "
            "another collection"
        )
    try:
        return Document.model_validate(json.loads(document))
    except ValueError as error:
        raise ForeignRecordError(f"{place} holds a record whose document cannot be read: {error}") from error


def _token(key: bytes, value: StoredScalar) -> str:
    # Numbers are equal by value, whether whole or not; no other kind of scalar begins with #.
    scalar = value if isinstance(value, bytes) else f"#{int(value) if value == int(value) else value!r}".encode()
    return hashlib.sha256(len(key).to_bytes(8, "big") + key + scalar).hexdigest()[:32]


def _json(document: Document) -> str:
    fields: Mapping[str, object] = {
        "id": document.id,
        "content": document.content,
        "metadata": tagged(document.metadata),
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates of a broken page, which no request could carry
        return json.dumps(fields, separators=(",", ":"), allow_nan=False)
    return text
