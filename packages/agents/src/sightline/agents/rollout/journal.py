"""The journal of a rollout: finished batches of episodes, durable one by one, so that a killed rollout can go on.

A journal is a JSON Lines file: a header that says which rollout it belongs to, then one line per finished batch.
One rollout at a time may write it. This module knows nothing of how episodes are played.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sightline.agents.trajectory import Trajectory
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import DurableLines, RecordError, parse_record

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_SHOWN_CHARACTERS = 60
_REMEDY = "Give another journal, or delete this one to begin anew."


class JournalError(ValueError):
    """A journal belongs to another rollout."""


class JournalHeader(BaseModel):
    """Which rollout a journal belongs to; everything that its results depend on and that can be compared.

    The weights of an agent and the catalogue of an environment cannot: whoever changes those takes another journal.
    """

    model_config = _RECORD

    schema_version: Literal[1] = 1
    agent: str
    """The agent's name."""
    seed: int
    """Seed of every reset."""
    max_steps: int
    """Steps after which an episode is truncated."""
    batch_size: int
    """Episodes that are played in lock-step."""
    expert: bool
    """Whether situations hold an expert's action."""
    values: bool = False
    """Whether situations hold values of the candidates."""
    snapshots: bool = False
    """Whether steps keep states."""
    goals: tuple[int, ...]
    """Tasks, one episode for each."""


class _Entry(BaseModel):
    model_config = _RECORD

    batch: int
    episodes: tuple[Trajectory, ...]


class RolloutJournal:
    """Reads what is there, and adds to it.

    Args:
        path: the file; made, with its folder, when missing. A last line that was cut off in writing is removed.
        header: the rollout that is about to be played.

    Raises:
        JournalError: the file is the journal of another rollout.
        RecordError: a complete line is no record of a journal; the message names file, line and field.
    """

    def __init__(self, path: Path, header: JournalHeader) -> None:
        self._path = path
        self._lines = DurableLines(path)
        self._batches: dict[int, tuple[Trajectory, ...]] = {}
        if path.exists():
            self._read(header)
        else:
            with atomic_file(path) as file:
                file.write(header.model_dump_json().encode() + b"\n")

    @property
    def batches(self) -> dict[int, tuple[Trajectory, ...]]:
        """The batches that are finished: number -> trajectories in the order of the batch's goals."""
        return dict(self._batches)

    def append(self, batch: int, episodes: list[Trajectory]) -> None:
        """Add a finished batch; when this returns, it is on disk."""
        self._lines.append(_Entry(batch=batch, episodes=tuple(episodes)).model_dump_json().encode())
        self._batches[batch] = tuple(episodes)

    def _read(self, header: JournalHeader) -> None:
        lines = list(self._lines.read())
        if not lines:
            raise RecordError(f"{self._path} does not begin with the header of a journal. {_REMEDY}")
        for number, (where, line) in enumerate(lines):
            if number == 0:
                self._check(parse_record(JournalHeader, line, where=where, remedy=_REMEDY), header)
            else:
                self._add(parse_record(_Entry, line, where=where, remedy=_REMEDY), header, where)
        self._lines.cut()

    def _check(self, found: JournalHeader, wanted: JournalHeader) -> None:
        differences = [
            f"{name}: {_short(before)} there, {_short(now)} now"
            for name in JournalHeader.model_fields
            if (before := getattr(found, name)) != (now := getattr(wanted, name))
        ]
        if differences:
            raise JournalError(f"{self._path} is the journal of another rollout ({'; '.join(differences)}). {_REMEDY}")

    def _add(self, entry: _Entry, header: JournalHeader, where: str) -> None:
        start = entry.batch * header.batch_size
        goals = header.goals[start : start + header.batch_size] if entry.batch >= 0 else ()
        if not goals or tuple(episode.goal for episode in entry.episodes) != goals:
            raise RecordError(f"{where}: these are not the episodes of batch {entry.batch}. {_REMEDY}")
        self._batches[entry.batch] = entry.episodes


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
