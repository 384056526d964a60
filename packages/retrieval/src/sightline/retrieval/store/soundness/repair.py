"""Making a sound store of what is sound in a damaged one.

What is there is copied aside before anything is changed, and the new database takes the place of the old one in a
single step; a repair that is interrupted after that copy is taken up by the next one.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np

from sightline.retrieval.errors import StoreDamagedError, StoreError
from sightline.retrieval.store.changes import adding
from sightline.retrieval.store.disk.folder import StoreFolder
from sightline.retrieval.store.disk.lock import WriterLock
from sightline.retrieval.store.document import document_records
from sightline.retrieval.store.opening import recorded_encoder
from sightline.retrieval.store.soundness.salvage import DamagedStore, SalvagedRow, recorded_numbers, restore_tables
from sightline.retrieval.store.soundness.verification import Damage, find_damage
from sightline.retrieval.store.storage import Storage
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.unit_vectors import encoded_texts

logger = logging.getLogger(__name__)

_BATCH: Final = 1000
_REMEDY: Final = "write the document again, or take it from a backup"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What became of a damaged store."""

    kept: int
    """Documents that the store has now."""
    lost: tuple[Damage, ...]
    """What could not be kept, or may not be as it was."""
    aside: Path | None
    """Folder with the damaged files as they were; None where nothing was damaged."""


def repair_store(folder: Path, encoder: TextEncoder | None, lock_timeout: float) -> RepairReport:
    """Keep all that is sound in a store, and put what was there aside.

    Args:
        folder: folder of the store.
        encoder: encoder of the store, to embed again the texts whose vectors are damaged; None to give these up.
        lock_timeout: seconds to wait for a writer.

    Raises:
        FileNotFoundError: there is no database, and so there are no texts.
        OSError: the disk refused; the store is as it was.
        StoreDamagedError: nothing tells the encoder of the store; give it.
        StoreLockedError: the store is open for writing.
    """
    files = StoreFolder(folder)
    if not files.database.is_file() and not files.repaired.is_file():
        raise FileNotFoundError(f"{folder} holds no database to repair; the texts of a store are in it")
    lock = WriterLock(files.lock, lock_timeout)
    try:
        lost: list[Damage] = []
        if not files.repaired.is_file():
            if (count := _count_if_sound(files)) is not None:
                return RepairReport(count, (), None)
            files.copy_aside()
            lost = _build(files, encoder)
        aside = files.put_repaired_in_place()
        kept = _count_if_sound(files)
        if kept is None:
            raise StoreDamagedError(f"{folder} is damaged after its repair; its files as they were are in {aside}")
        logger.warning("%s: %d documents are kept, %d problems stay; see %s", folder, kept, len(lost), aside)
        return RepairReport(kept, tuple(lost), aside)
    finally:
        lock.release()


def _count_if_sound(files: StoreFolder) -> int | None:
    """Return the number of documents of a store without damage; None where there is any."""
    with suppress(StoreError, OSError):
        made_with = recorded_encoder(files)
        if made_with is not None:
            with closing(Storage(files.path, *made_with, read_only=True)) as storage:
                return None if any(find_damage(storage)) else storage.view.live_count
    return None


def _build(files: StoreFolder, encoder: TextEncoder | None) -> list[Damage]:
    """Make a sound store of what is sound, ready to be put in place; return what could not be kept."""
    work = files.path / f".repair-{uuid4().hex}"
    work.mkdir()
    try:
        database = files.copy_database(work)
        restore_tables(database)
        recorded = recorded_numbers(database)
        if encoder is not None:
            made_with = encoder.name, encoder.dimension
        elif recorded is not None:
            made_with = recorded[:2]
        else:
            raise StoreDamagedError(f"{files.database} does not tell its encoder any more; give it to repair")
        parts = [part for part in files.parts() if part.indexed_rows is None]
        current = [part.path for part in parts if recorded is not None and part.generation == recorded[2]]
        paths = current or [part.path for part in sorted(parts, key=lambda part: (part.size, part.generation))]
        generation = 1 + max([part.generation for part in files.parts()], default=0)
        with closing(DamagedStore(database, paths[-1] if paths else None, made_with[1])) as damaged:
            lost = _keep_sound(damaged, work / "store", made_with, generation, encoder)
        files.take_repaired(work / "store", generation)
        return lost
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _keep_sound(
    damaged: DamagedStore,
    target: Path,
    made_with: tuple[str, int],
    generation: int,
    encoder: TextEncoder | None,
) -> list[Damage]:
    """Write what is sound to a new store; return what is not."""
    lost: list[Damage] = []
    dead, all_told = damaged.deleted()
    if not all_told:
        problem = "the list of deleted documents is damaged: some that were deleted may be back"
        lost.append(Damage("documents.sqlite", None, problem, "delete them again"))
    last = {found.document_id: found.row for found in damaged.rows() if found.row not in dead}
    with closing(Storage(target, *made_with, read_only=False, generation=generation)) as storage:
        batch: list[SalvagedRow] = []
        for found in damaged.rows():
            if last.get(found.document_id) != found.row:
                continue
            if found.document is None:
                lost.append(_lost(found, "its text or metadata does not match their checksum"))
            elif found.vector is None and encoder is None:
                lost.append(_lost(found, "its vector does not match its checksum, and no encoder was given"))
            else:
                batch.append(found)
            if len(batch) == _BATCH:
                _write(storage, batch, encoder)
                batch = []
        _write(storage, batch, encoder)
    return lost


def _lost(found: SalvagedRow, problem: str) -> Damage:
    return Damage("documents.sqlite", found.document_id.decode("utf-8", "replace"), problem, _REMEDY)


def _write(storage: Storage, batch: Iterable[SalvagedRow], encoder: TextEncoder | None) -> None:
    kept = [(found.document, found.vector) for found in batch if found.document is not None]
    if not kept:
        return
    missing = [place for place, (_, vector) in enumerate(kept) if vector is None]
    rows = np.zeros((len(kept), storage.dimension), dtype=np.float32)
    for place, (_, vector) in enumerate(kept):
        if vector is not None:
            rows[place] = vector
    if encoder is not None and missing:
        rows[missing] = encoded_texts(encoder, [kept[place][0].content for place in missing]).rows
    storage.change(adding(document_records(document for document, _ in kept), rows, overwrite=False))
