"""Writes a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, chunks: Iterable[str]) -> None:
    """Replaces a file by UTF-8 text; whoever opens it, whenever, sees all of the old text or all of the new.

    Args:
        path: in a folder that exists.
        chunks: the text, in pieces; whatever goes wrong while they are made or written leaves the old file alone.

    Raises:
        OSError: the text cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
