"""A data set as a folder: `.npy` files that are mapped into memory, `dataset.json` and two JSONL files of texts.

The folder appears whole or not at all, and nothing in it is executed when it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from sightline.jepa.data.dataset import ARRAYS, DatasetError, SteeringDataset
from sightline.jepa.files import sync_folder

_FORMAT = 1


class _Description(BaseModel):
    """The file `dataset.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    format: Literal[1]
    """Version of the folder."""
    encoder: str
    """Name of the encoder of the vectors."""
    names: list[str]
    """Names of the K categories."""


def write_dataset(folder: Path, dataset: SteeringDataset) -> None:
    """Write a data set to a folder that does not exist yet; it appears whole or not at all.

    Args:
        folder: folder to make.
        dataset: data to write.

    Raises:
        FileExistsError: there is something at `folder`.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; write to another folder, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        for name in ARRAYS:
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, np.ascontiguousarray(getattr(dataset, name)), allow_pickle=False)
                os.fsync(file.fileno())
        for name, texts in (("question_texts", dataset.question_texts), ("source_texts", dataset.source_texts)):
            _write_lines(temporary / f"{name}.jsonl", [json.dumps(text) for text in texts])
        description = _Description(format=_FORMAT, encoder=dataset.encoder, names=list(dataset.names))
        _write_lines(temporary / "dataset.json", [description.model_dump_json(indent=2)])
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_dataset(folder: Path) -> SteeringDataset:
    """Map a data set that `write_dataset` wrote into memory, read-only, and check it.

    Raises:
        FileNotFoundError: a file is missing.
        DatasetError: a file holds something else than the folder promises; the message names it.
    """
    path = folder / "dataset.json"
    try:
        description = _Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DatasetError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
    parts: dict[str, Any] = {name: _open_array(folder / f"{name}.npy") for name in ARRAYS}
    parts |= {name: _read_texts(folder / f"{name}.jsonl") for name in ("question_texts", "source_texts")}
    try:
        return SteeringDataset(**parts, names=tuple(description.names), encoder=description.encoder)
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from error


def _open_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(f"{path} is no array that can be mapped ({error}); build the data set again") from error


def _read_texts(path: Path) -> tuple[str, ...]:
    texts = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number}: {error}") from error
            if not isinstance(text, str):
                raise DatasetError(f"{path}, line {number}: expected a string, found {line[:60]!r}")
            texts.append(text)
    return tuple(texts)


def _write_lines(path: Path, lines: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
