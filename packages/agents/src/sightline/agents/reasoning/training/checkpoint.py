"""Training state in one file, tensors and JSON together, so that it is there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sightline.retrieval.files import atomic_file

SCHEMA_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint is damaged, or of another run; the message says which field differs and what to do."""


def save_checkpoint(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors and JSON values, atomically."""
    text = json.dumps({"schema_version": SCHEMA_VERSION} | record)
    unshared = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_file(path) as file:
        file.write(save(unshared, metadata={"record": text}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged or of a newer version.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint of a training: {error}; delete it to begin anew") from error
    if record.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(f"{path} has version {record.get('schema_version')!r}, but this is {SCHEMA_VERSION}")
    return tensors, record


def check_same(
    path: Path, stored: dict[str, Any], present: BaseModel, *, ignored: frozenset[str] = frozenset()
) -> None:
    """Ask that a stored configuration is the present one.

    Args:
        path: the checkpoint, for the message.
        stored: the configuration in it.
        present: the configuration of this run.
        ignored: fields that may differ.

    Raises:
        CheckpointError: a field differs; the first is named.
    """
    own = present.model_dump(mode="json")
    for field in sorted(own.keys() | stored.keys()):
        if field not in ignored and own.get(field) != stored.get(field):
            raise CheckpointError(
                f"{path} was made with {field} = {stored.get(field)!r}, but this run has {own.get(field)!r}; "
                "take another folder, or delete the checkpoint to begin anew"
            )
