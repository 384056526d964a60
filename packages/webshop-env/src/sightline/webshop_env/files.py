"""Writes files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO


def write_atomically(path: Path, chunks: Iterable[str]) -> None:
    """Replaces a file by UTF-8 text; whoever opens it, whenever, sees all of the old text or all of the new.

    Args:
        path: in a folder that exists.
        chunks: the text, in pieces; whatever goes wrong while they are made or written leaves the old file alone.

    Raises:
        OSError: the text cannot be written there.
    """
    with replacing(path) as (file,):
        file.writelines(chunks)


@contextmanager
def replacing(*paths: Path) -> Generator[Sequence[TextIO]]:
    """Opens UTF-8 files beside the given ones, which they replace when the block ends without an error.

    Each path holds all of its old text or all of the new at any time. The files take their places one after the other,
    when all of them are on the disk; an error before that leaves every path alone.

    Args:
        paths: in folders that exist.

    Raises:
        OSError: the files cannot be written there.
    """
    temporaries = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths]
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context(temporary.open("w", encoding="utf-8", newline="")) for temporary in temporaries
            ]
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
