"""Bounds that outlive a process: SQLite, one row per question. Knows nothing of how they were found.

A key names everything an answer depends on, the policy's fingerprint first, so another model never meets them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from sightline.teachability.records import Bound

_SCHEMA = "CREATE TABLE IF NOT EXISTS bounds (key TEXT PRIMARY KEY, policy TEXT NOT NULL, bound TEXT NOT NULL)"
_VERSION = 1


def value_key(policy: str, state: bytes, *, action: str | None = None, patch: str | None = None, how: str = "") -> str:
    """Return the name of a question.

    Args:
        policy: the policy's fingerprint.
        state: the encoded state.
        action: the action whose value is asked for, None for the policy's own.
        patch: the text that the policy reads beside every page.
        how: settings of the method, such as tolerance and budget.
    """
    parts = [policy, hashlib.sha256(state).hexdigest(), action, patch, how]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class ValueStore:
    """Bounds on disk; safe against a process that dies while writing, and shared by several.

    Args:
        path: the database; made where there is none.

    Raises:
        ValueError: the file is no store of this version.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._connection = sqlite3.connect(path, timeout=60)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise ValueError(
                    f"{path} is a value store of version {version}, not {_VERSION}; delete it to start anew"
                )
            self._connection.execute("PRAGMA journal_mode=WAL")
            with self._connection:
                self._connection.execute(_SCHEMA)
                self._connection.execute(f"PRAGMA user_version={_VERSION}")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter in messages that quote damage
            raise ValueError(f"{path} is no value store ({error}); delete it to start anew") from error

    def get(self, key: str) -> Bound | None:
        """Return the bound of a question, None where it was not asked."""
        with closing(self._connection.execute("SELECT bound FROM bounds WHERE key = ?", (key,))) as rows:
            row = rows.fetchone()
        return None if row is None else Bound.model_validate_json(row[0])

    def put(self, key: str, bound: Bound, *, policy: str) -> None:
        """Write the bound of a question; it is on the disk when this returns."""
        with self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO bounds VALUES (?, ?, ?)", (key, policy, bound.model_dump_json())
            )

    def forget(self, policy: str) -> int:
        """Delete the bounds of a policy and return how many there were."""
        with self._connection:
            return self._connection.execute("DELETE FROM bounds WHERE policy = ?", (policy,)).rowcount

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
