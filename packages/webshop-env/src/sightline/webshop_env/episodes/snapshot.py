"""Turns an episode into a few hundred bytes and back, trusting nothing it reads.

Layout: the magic bytes, one byte of schema version, the first 8 bytes of the payload's SHA-256, and the payload, which
is JSON in UTF-8 without white space. A field that has its default is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.webshop_env.errors import SnapshotError
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH, Shop
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.product import Product

SCHEMA_VERSION: Final = 1
MAX_SNAPSHOT_BYTES: Final = 1 << 22

_ON_PRODUCT: Final = frozenset({PageKind.ITEM, PageKind.DONE, *SUB_PAGES})

_MAGIC: Final = b"SLWS"
_CHECKSUM_BYTES: Final = 8
_HEADER_BYTES: Final = len(_MAGIC) + 1 + _CHECKSUM_BYTES

_DEFAULTS: Final = ShopState(goal=-1)
_values: Final = attrgetter(*ShopState._fields)

Moment: TypeAlias = tuple[ShopState, str]
"""A past state and the action that was taken in it."""

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Asin = Annotated[str, Field(min_length=1, max_length=10)]
_Words = Annotated[str, Field(max_length=3 * MAX_ACTION_LENGTH)]  # lower-casing can lengthen a text threefold


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _StateRecord(_Record):
    """The fields of `ShopState`, with what can be checked without a shop."""

    goal: _Count
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    kind: PageKind = PageKind.INDEX
    query: _Words = ""
    number: Annotated[int, Field(ge=1, lt=1 << 53)] = 1
    asin: _Asin | None = None
    options: tuple[tuple[str, str], ...] = ()
    visited: frozenset[_Asin] = frozenset()
    steps: _Count = 0
    step_limit: Annotated[int, Field(ge=1, lt=1 << 53)] | None = None
    draws: _Count = 0
    done: bool = False
    reward: Annotated[float, Field(ge=0, le=1)] = 0.0

    def state(self) -> ShopState:
        return ShopState._make(_values(self))


class _MomentRecord(_Record):
    state: _StateRecord
    action: _Words


class _SnapshotRecord(_Record):
    catalogue: str
    goals: str
    state: _StateRecord
    history: tuple[_MomentRecord, ...] = ()


def encode(shop: Shop, state: ShopState, history: Sequence[Moment] = ()) -> bytes:
    """Write an episode down.

    Args:
        shop: shop in which the episode takes place; the snapshot remembers its catalogue and goals.
        state: state of the episode.
        history: past states and the actions taken in them, oldest first.

    Raises:
        SnapshotError: if a product that was chosen by hand holds half of a surrogate pair, which is no text.
    """
    record: dict[str, Any] = {**shop.identity, "state": _fields(state)}
    if history:
        record["history"] = [{"state": _fields(past), "action": action} for past, action in history]
    try:
        # Several times as fast as the standard library, which matters to whoever plans with snapshots.
        payload = msgspec.json.encode(record)
    except UnicodeEncodeError as error:
        raise SnapshotError(f"the state of {state.asin!r} cannot be written down: {error}") from None
    return _MAGIC + bytes([SCHEMA_VERSION]) + _checksum(payload) + payload


def decode(shop: Shop, snapshot: bytes) -> tuple[ShopState, tuple[Moment, ...]]:
    """Read an episode back.

    Args:
        shop: one with the same catalogue and goals as the one that wrote the snapshot.
        snapshot: bytes that `encode` returned.

    Returns:
        The state and the history.

    Raises:
        SnapshotError: if the bytes are no snapshot, damaged, of another schema version, from another catalogue or
            other goals, or describe a state that the shop cannot be in.
    """
    try:
        record = _SnapshotRecord.model_validate_json(_payload(snapshot))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "payload"
        raise SnapshotError(f"the snapshot's field {where!r} is wrong: {first['msg']}") from None
    for name, ours in shop.identity.items():
        theirs = getattr(record, name)
        if theirs != ours:
            raise SnapshotError(f"the snapshot was made with other {name}: {theirs[:80]!r}; this shop has {ours!r}")
    history = tuple((moment.state.state(), moment.action) for moment in record.history)
    state = record.state.state()
    for each in (*(past for past, _ in history), state):
        _check(shop, each)
    return state, history


def _fields(state: ShopState) -> dict[str, Any]:
    # Sorted, so that equal states have equal snapshots.
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value, default in zip(ShopState._fields, state, _DEFAULTS, strict=True)
        if value is not default and value != default
    }


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECKSUM_BYTES]


def _payload(snapshot: bytes) -> bytes:
    if not isinstance(snapshot, bytes | bytearray | memoryview):
        raise SnapshotError(f"a snapshot is bytes, not {type(snapshot).__name__}")
    snapshot = bytes(snapshot)
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise SnapshotError(f"a snapshot has at most {MAX_SNAPSHOT_BYTES:,} bytes, not {len(snapshot):,}")
    if len(snapshot) < _HEADER_BYTES or not snapshot.startswith(_MAGIC):
        raise SnapshotError(f"these {len(snapshot):,} bytes are not a snapshot of a shop: {snapshot[:12]!r}")
    version = snapshot[len(_MAGIC)]
    if version != SCHEMA_VERSION:
        raise SnapshotError(f"the snapshot has schema version {version}; this package reads version {SCHEMA_VERSION}")
    checksum, payload = snapshot[len(_MAGIC) + 1 : _HEADER_BYTES], snapshot[_HEADER_BYTES:]
    if checksum != _checksum(payload):
        raise SnapshotError("the snapshot is damaged: its checksum does not fit; was it cut short or changed?")
    return payload


def _check(shop: Shop, state: ShopState) -> None:
    """Refuse what no sequence of actions leads to, as far as a page could not be shown or would be a wrong one."""
    if state.goal >= len(shop.goals):
        raise SnapshotError(f"the snapshot is about goal {state.goal}, but there are only {len(shop.goals)}")
    asin_seen = state.asin is None or state.asin in state.visited
    named = state.visited if asin_seen else {state.asin, *state.visited}
    unknown = [asin for asin in named if asin not in shop.catalogue]
    if unknown:
        raise SnapshotError(f"the snapshot names product {min(unknown)!r}, which the catalogue does not have")
    on_product = state.kind in _ON_PRODUCT
    if on_product != (state.asin is not None):
        raise SnapshotError(f"the snapshot shows page {state.kind.value!r} with product {state.asin!r}")
    if not asin_seen:
        raise SnapshotError(f"the snapshot shows product {state.asin!r}, which was never opened")
    product = None if state.asin is None else shop.product(state.asin)
    for group, value in state.options:
        if product is None or value not in product.options.get(group, ()):
            raise SnapshotError(f"the snapshot chose {group!r}: {value!r}, which {_name(product)} does not offer")
    if len(dict(state.options)) < len(state.options):
        raise SnapshotError("the snapshot chose two values for one group of options")
    if state.kind is PageKind.INDEX and (state.query, state.number, state.visited) != ("", 1, frozenset()):
        raise SnapshotError("the snapshot shows the index page in the middle of a search")
    if state.kind is PageKind.DONE and not state.done:
        raise SnapshotError("the snapshot shows the last page without a purchase")
    if state.reward and not state.done:
        raise SnapshotError(f"the snapshot has a reward of {state.reward!r} without a purchase")


def _name(product: Product | None) -> str:
    return "a page without product" if product is None else f"product {product.asin!r}"
