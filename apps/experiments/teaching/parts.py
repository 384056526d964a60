"""A stage in parts, which worker processes do one by one: each writes one file of records, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from lab.jobs import Job, Workers
from lab.run import RunDirectory, slug
from sightline.teachability.jsonl import read_jsonl, write_jsonl

Item = TypeVar("Item")
RecordType = TypeVar("RecordType", bound=BaseModel)


@dataclass(frozen=True)
class Part:
    """One piece of a stage."""

    name: str
    """Name of its file, without suffix."""
    records: int
    """Number of records that it writes."""
    work: Callable[..., Sequence[BaseModel]]
    """Function of a module that returns them; called in a worker process with the arguments and, last, the folder of
    the parts, where it may leave more than records."""
    arguments: tuple[Any, ...]
    """Its first arguments."""


def spread(
    run: RunDirectory,
    workers: Workers,
    stage: str,
    parts: Sequence[Part],
    record_type: type[RecordType],
    variant: str = "parts",
) -> list[RecordType]:
    """Do a stage's parts and return their records in the order of the parts; parts that are done are not done again."""

    def jobs(folder: Path) -> list[Job]:
        return [
            Job(folder / f"{slug(part.name)}.jsonl", part.records, do_part, (part, folder))
            for part in parts
            if part.records
        ]

    folder = workers.stage(run, stage, jobs, variant)
    return [
        record
        for part in parts
        if part.records
        for record in read_jsonl(folder / f"{slug(part.name)}.jsonl", record_type)
    ]


def do_part(part: Part, folder: Path) -> None:
    """Do a part in a worker, unless its file is there."""
    file = folder / f"{slug(part.name)}.jsonl"
    if not file.exists():
        import torch

        torch.set_num_threads(1)  # sums that are split over threads differ in their last digits
        write_jsonl(file, list(part.work(*part.arguments, folder)))


def parts_folder(run: RunDirectory, stage: str, variant: str = "parts") -> Path:
    """Return the folder of a stage's parts once they are done."""
    return run.stage_folder(stage, variant)


def chunks(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    """Return items in groups of a fixed size, so that results depend on no number of processes."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
