"""Writes a folder whole or not at all, and checks that it still is what was written.

A sealed folder holds a manifest: what made it, and the size and SHA-256 of each file. This module knows nothing of what
the files mean; a kind of folder describes itself by a subclass of `Manifest`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sightline.webshop_env.errors import CatalogueError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two writers of one folder apart
    fcntl = None

MANIFEST: Final = "manifest.json"
_MAX_MANIFEST_BYTES: Final = 1 << 20
_SMALL_FILE_BYTES: Final = 1 << 20

_FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=200)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileRecord(_Record):
    """What is known of one file."""

    size: Annotated[int, Field(ge=0)]
    """In bytes."""
    sha256: Digest
    """Of its content."""


class Manifest(_Record):
    """What every sealed folder says of itself; subclasses name their kind of folder and add what it needs."""

    format: ClassVar[str]
    schema_version: ClassVar[int]

    files: Annotated[dict[_FileName, FileRecord], Field(max_length=1000)]
    """Path in the folder -> size and digest, for every file but the manifest."""


_Manifest = TypeVar("_Manifest", bound=Manifest)


@contextmanager
def whole_folder(target: Path, *, replace: bool = False, wait: bool = False) -> Generator[Path]:
    """Give a temporary folder beside `target` that becomes `target` when the block ends without an error.

    Whatever goes wrong leaves `target` as it was, and the temporary folder is deleted, by this run or, if it is
    killed, by the next one for the same target. A replacement takes two renames: killed between them, the run leaves
    the former folder under the name `.NAME.old`, and the next run puts it back before it begins.

    Args:
        target: the folder to make.
        replace: take the place of a folder that exists.
        wait: if another process is writing the same folder, wait until it has done so.

    Raises:
        FileExistsError: `target` exists and is not to be replaced.
        CatalogueError: another process is writing the same folder.
        OSError: it cannot be written there.
    """
    former = target.with_name(f".{target.name}.old")
    temporary = target.with_name(f".{target.name}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(temporary, target, wait)
    try:
        if former.exists() and not target.exists():
            former.rename(target)
        if target.exists() and not replace:
            raise FileExistsError(f"{target} exists already")
        for stale in (former, *temporary.iterdir()):
            _delete(stale)
        yield temporary
        for folder, _, _ in os.walk(temporary):
            _sync(Path(folder))
        if target.exists():
            target.rename(former)
        try:
            temporary.rename(target)
        except OSError:
            if former.exists():
                former.rename(target)
            raise
        _sync(target.parent)
        _delete(former)
    finally:
        if lock is None or os.path.samestat(os.fstat(lock), _status(temporary)):
            with suppress(OSError):
                _delete(temporary)
        if lock is not None:
            os.close(lock)


def _lock(temporary: Path, target: Path, wait: bool) -> int | None:
    """Make the temporary folder, this process's alone for as long as the handle is open, however it ends."""
    while True:
        temporary.mkdir(exist_ok=True)
        if fcntl is None:
            return None
        try:
            handle = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # whoever held the lock before has just renamed or deleted the folder
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise CatalogueError(f"another process is writing {target}; wait until it has finished") from None
        except OSError:
            return handle  # some network file systems have no locks
        # The same may have happened while this process waited.
        if os.path.samestat(os.fstat(handle), _status(temporary)):
            return handle
        os.close(handle)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        return os.stat_result((0,) * 10)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Let the system write a file, or the entries of a folder, to the disk."""
    if fcntl is None and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path, kind: type[Manifest], facts: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose other files are complete.

    Args:
        folder: holds the files; each is brought to the disk before the manifest is written.
        kind: type of the manifest.
        facts: its fields but `files`, as JSON values.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": _file_digest(path)}
    content = {"format": kind.format, "schema_version": kind.schema_version, **facts, "files": files}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**content, "sha256": _content_digest(content)}, indent=1), encoding="ascii")
    _sync(manifest)


def read_manifest(folder: Path, kind: type[_Manifest]) -> _Manifest:
    """Read what a folder says of itself and check that its files are there, of the right sizes.

    Small files are also compared with their digests; `check_digests` does that for all.

    Raises:
        CatalogueError: something is missing, damaged or malformed; names the file.
    """
    path = folder / MANIFEST
    content = _read_content(path)
    made_as = (content.pop("format", None), content.pop("schema_version", None))
    if made_as != (kind.format, kind.schema_version):
        found = f"{str(made_as[0])[:80]!r} of version {str(made_as[1])[:80]}"
        ours = f"{kind.format!r} of version {kind.schema_version}"
        raise CatalogueError(f"{folder}: holds {found}, but this package reads {ours}; make it again")
    try:
        manifest = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:80] or "content"
        raise CatalogueError(f"{path}: field {where!r} is wrong: {first['msg']}") from None
    for name, record in manifest.files.items():
        _check_size(folder / name, record)
        if record.size <= _SMALL_FILE_BYTES:
            _check_digest(folder / name, record)
    return manifest


def _read_content(path: Path) -> dict[str, Any]:
    """Return the manifest without its checksum, which fits."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from None
    with suppress(ValueError, RecursionError):
        content = json.loads(text) if len(text) <= _MAX_MANIFEST_BYTES else None
        if isinstance(content, dict) and content.pop("sha256", None) == _content_digest(content):
            return content
    raise CatalogueError(f"{path}: is damaged: its content does not fit its checksum")


def check_digests(folder: Path, manifest: Manifest) -> None:
    """Compare every byte of a folder's files with what was written.

    Raises:
        CatalogueError: names the first file that differs.
    """
    for name, record in manifest.files.items():
        _check_digest(folder / name, record)


def _check_size(path: Path, record: FileRecord) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from None
    if size != record.size:
        raise CatalogueError(f"{path}: has {size:,} bytes but was written with {record.size:,}; it was cut or changed")


def _check_digest(path: Path, record: FileRecord) -> None:
    try:
        digest = _file_digest(path)
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from None
    if digest != record.sha256:
        raise CatalogueError(f"{path}: is damaged: its content is not what was written")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def map_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
    """Open a `.npy` file as a read-only array whose pages all processes share.

    Args:
        path: the file.
        dtype: type of the elements; for byte strings any width will do.
        shape: shape that it must have; when None, one axis of any length will do.

    Raises:
        CatalogueError: it cannot be read, or holds something else.
    """
    array: npt.NDArray[Any] | None = None
    with suppress(ValueError, EOFError):
        try:
            # As a plain array: the subclass that maps files makes every access slower.
            array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except OSError as error:
            raise CatalogueError(f"{path}: cannot be read: {error}") from None
    wanted = np.dtype(dtype)
    fits = array is not None and (array.dtype == wanted or (wanted.kind == "S" == array.dtype.kind))
    if array is None or not fits or array.ndim != 1 or (shape is not None and array.shape != shape):
        found = "no array" if array is None else f"{array.dtype} {array.shape}"
        raise CatalogueError(f"{path}: holds {found}; expected {wanted} {shape or '(any)'}")
    return array
