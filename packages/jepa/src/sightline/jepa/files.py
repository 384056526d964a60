"""Files that appear whole or not at all. Knows nothing of what they hold. Packages that share no other have a copy."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def atomic_file(path: Path) -> Generator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends, and vanishes when it raises.

    Whoever reads `path` meanwhile, or after a crash, finds all of the old content or all of the new. The mode follows
    the umask. The folder is made when missing.

    Raises:
        OSError: the file cannot be written there; `path` is as it was.
    """
    with atomic_files(path) as (file,):
        yield file


@contextmanager
def atomic_files(*paths: Path) -> Generator[tuple[BinaryIO, ...]]:
    """Open one binary file for each path, as `atomic_file` does.

    They take their places one after the other when all of them are on the disk; an error before that leaves every path
    as it was.
    """
    # Names of their own, so that two writers of one path do not write into each other's file.
    temporaries = [path.with_name(f".{path.name}.{uuid4().hex}.tmp") for path in paths]
    try:
        with ExitStack() as stack:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            files = tuple(stack.enter_context(temporary.open("xb")) for temporary in temporaries)
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
        for folder in {path.parent for path in paths}:
            sync_folder(folder)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system lets folders be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
