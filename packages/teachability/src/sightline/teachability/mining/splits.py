"""Splits by group, before anything is labelled: the same in every process and whatever else is in the pool.

Knows nothing of what a group or a task is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Literal

from sightline.teachability.errors import LeakError
from sightline.teachability.files import atomic_file
from sightline.teachability.jsonl import parse_record
from sightline.teachability.records import Record, Split

DEFAULT_SHARES: dict[Split, float] = {"label": 0.6, "calibration": 0.2, "panel": 0.2}

_WORD = re.compile(r"\w+")


class SplitManifest(Record):
    """Which group is used for what."""

    schema_version: Literal[1] = 1
    salt: str
    """What was hashed with the group."""
    shares: dict[Split, float]
    """Share of each split; they sum to 1."""
    groups: dict[str, Split]
    """Split of each group."""
    tasks: dict[int, str]
    """Group of each task."""

    def split(self, task: int) -> Split:
        """Return the split of a task.

        Raises:
            KeyError: the task is not in the pool.
        """
        return self.groups[self.tasks[task]]

    def members(self, split: Split) -> list[int]:
        """Return the tasks of a split, ascending."""
        return sorted(task for task, group in self.tasks.items() if self.groups[group] == split)


def choose_split(group: str, *, salt: str, shares: Mapping[Split, float]) -> Split:
    """Return the split of a group: the first 8 bytes of sha256(salt, group) against the cumulated shares."""
    digest = hashlib.sha256(f"{salt}\x1f{group}".encode()).digest()
    point, edge = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for split, share in shares.items():
        edge += share
        if point < edge:
            return split
    return list(shares)[-1]


def make_splits(
    tasks: Mapping[int, str], *, salt: str, shares: Mapping[Split, float] = DEFAULT_SHARES, used: Collection[str] = ()
) -> SplitManifest:
    """Split a pool of tasks by their groups.

    Args:
        tasks: group of each task.
        salt: a word that makes this split another than the next one.
        shares: share of each split.
        used: groups that the student was trained on, or that are kept for final figures.

    Raises:
        ValueError: the shares are no distribution.
        LeakError: a group of the pool has been used.
    """
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must be at least 0 and sum to 1, not {dict(shares)!r}")
    check_disjoint({"pool": tasks.values(), "used before": used})
    groups = {group: choose_split(group, salt=salt, shares=shares) for group in sorted(set(tasks.values()))}
    return SplitManifest(salt=salt, shares=dict(shares), groups=groups, tasks=dict(sorted(tasks.items())))


def check_disjoint(parts: Mapping[str, Iterable[str]]) -> None:
    """Check that no group stands in two parts.

    Raises:
        LeakError: one does; the message names the parts and up to five groups.
    """
    sets = {name: set(groups) for name, groups in parts.items()}
    for (first, one), (second, other) in combinations(sets.items(), 2):
        if shared := sorted(one & other):
            raise LeakError(f"{len(shared)} groups stand both in {first!r} and in {second!r}: {shared[:5]}")


def near_duplicates(
    texts: Mapping[int, str], manifest: SplitManifest, *, similarity: float = 0.9
) -> list[tuple[int, int]]:
    """Return pairs of tasks in different splits whose texts share nearly all words.

    Args:
        texts: the instruction of each task.
        manifest: where the tasks are.
        similarity: words in common over words in either (Jaccard) from which two texts count as near duplicates.
    """
    words = {task: frozenset(_WORD.findall(text.lower())) for task, text in texts.items()}
    order = sorted(words, key=lambda task: (len(words[task]), task))
    found = []
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            if len(words[first]) < similarity * len(words[second]):
                break  # later texts are longer still
            if manifest.split(first) == manifest.split(second):
                continue
            union = len(words[first] | words[second])
            if union and len(words[first] & words[second]) >= similarity * union:
                found.append((min(first, second), max(first, second)))
    return sorted(found)


def write_manifest(path: Path, manifest: SplitManifest) -> None:
    """Write a manifest, whole or not at all."""
    with atomic_file(path) as file:
        file.write(manifest.model_dump_json(indent=1).encode() + b"\n")


def read_manifest(path: Path) -> SplitManifest:
    """Read a manifest.

    Raises:
        FileNotFoundError: there is none.
        RecordError: the file holds something else.
    """
    return parse_record(SplitManifest, path.read_bytes(), where=str(path))
