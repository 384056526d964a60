"""Opening a store: look at the files before any is touched, lock, make what is missing, refuse what does not fit.

This module does not read rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sightline.retrieval.errors import ReadOnlyStoreError
from sightline.retrieval.files import sync_folder
from sightline.retrieval.store.database.connections import DocumentDatabase
from sightline.retrieval.store.database.migration import migrate, state_of_format_1
from sightline.retrieval.store.database.schema import SCHEMA_VERSION
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.disk.folder import StoreFolder, StorePart
from sightline.retrieval.store.disk.lock import WriterLock
from sightline.retrieval.store.disk.rows import VectorFile


def enter(
    folder: StoreFolder, parts: Sequence[StorePart], *, read_only: bool, allow_other_files: bool, lock_timeout: float
) -> WriterLock | None:
    """Look at the files before any is touched; then take the writer's lock, to write.

    Args:
        folder: folder of the store.
        parts: parts that lie in it.
        read_only: True to take no lock.
        allow_other_files: True where a store may be made beside files that are not its own.
        lock_timeout: seconds to wait for another writer.

    Raises:
        FileNotFoundError: `read_only`, and the folder holds no store.
        ForeignFolderError: the folder holds other things and no store.
        StoreDamagedError: the database is missing, empty or no database.
        StoreLockedError: another writer has it open.
    """
    if read_only:
        folder.require_store(parts)
        return None
    folder.require_room(parts, allow_other_files=allow_other_files)
    folder.path.mkdir(parents=True, exist_ok=True)
    return WriterLock(folder.lock, lock_timeout)


def make_or_migrate(
    database: DocumentDatabase,
    folder: StoreFolder | None,
    made_with: tuple[str, int],
    parts: Sequence[StorePart],
    generation: int,
) -> None:
    """Make the tables of a store where there are none, and bring those of an earlier format to the present one.

    Args:
        database: database of the store.
        folder: folder of the store; None in memory.
        made_with: name of the encoder, and its dimension.
        parts: parts that lie in the folder.
        generation: number of the first generation of a store that is made.

    Raises:
        EncoderMismatchError: the vectors are of another encoder; nothing was changed.
        StoreDamagedError: the parts contradict each other; nothing was changed.
    """
    if folder is not None and not folder.database.is_file():
        folder.database.touch()
    with database.reading() as transaction:
        version = transaction.schema_version()
    if version == SCHEMA_VERSION:
        return
    if version == 0 and folder is not None:
        folder.refuse_remains(parts)
    with database.writing() as transaction:
        if folder is None:
            transaction.create(*made_with, generation)
        elif version == 0:
            VectorFile.create(folder.vectors(generation), made_with[1]).close()
            transaction.create(*made_with, generation)
        else:
            _, dimension, state = state_of_format_1(transaction)
            with closing(VectorFile(folder.vectors(state.generation), dimension, writable=False)) as vectors:
                migrate(transaction, vectors.rows(state.row_count).vectors)
            check(transaction, folder, made_with, parts)
    if folder is not None:
        sync_folder(folder.path.parent)  # the folder itself was synced when its file of vectors was made


def recorded_encoder(folder: StoreFolder) -> tuple[str, int] | None:
    """Return the name and the dimension of the encoder that a store was made with; None where there is no store.

    Args:
        folder: folder of the store.

    Raises:
        StoreDamagedError: the database is damaged.
        StoreNotClosedError: the writer died, and its log cannot be read without the right to write.
    """
    if not folder.database.is_file():
        return None
    database = DocumentDatabase(folder.database, read_only=True)
    try:
        with database.reading() as transaction:
            return transaction.made_with() if transaction.schema_version() else None
    finally:
        database.close(fold_log=False)


def check(
    transaction: Transaction, folder: StoreFolder | None, made_with: tuple[str, int], parts: Sequence[StorePart]
) -> None:
    """Refuse a store of another encoder, and files that contradict each other.

    Args:
        transaction: transaction that sees the store.
        folder: folder of the store; None in memory.
        made_with: name of the encoder, and its dimension.
        parts: parts that lay in the folder before the transaction began.

    Raises:
        EncoderMismatchError: the vectors are of another encoder.
        FileNotFoundError: there is no store yet.
        ReadOnlyStoreError: the store has an earlier format, and only opening for writing brings it to the present one.
        StoreDamagedError: the parts contradict each other.
    """
    version = transaction.schema_version()
    if not version:
        if folder is not None:
            folder.refuse_remains(parts)
        raise FileNotFoundError(f"{folder and folder.path} holds no store yet; its writer is about to make it")
    if version < SCHEMA_VERSION:
        raise ReadOnlyStoreError(
            f"{folder and folder.database} has format {version}; open it once for writing, which brings it to format "
            f"{SCHEMA_VERSION}"
        )
    transaction.require_consistent()
    transaction.require_encoder(*made_with)
    if folder is not None:
        folder.refuse_newer(parts, transaction.state())
