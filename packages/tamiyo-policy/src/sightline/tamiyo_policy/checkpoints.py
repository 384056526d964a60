"""Training states on disk: nested dictionaries with tensors, in one safetensors file, written atomically.

Knows nothing about what is in a state. Nothing is ever unpickled; what is neither a tensor, an array nor JSON is
refused when a state is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sightline.tamiyo_policy.files import atomic_file

FORMAT = "sightline.tamiyo_policy/1"


class CheckpointError(ValueError):
    """A file is not a checkpoint, or is one of something else."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, so that the path holds the whole of it or what it held before.

    Args:
        path: the file; its folder is made when missing.
        state: dictionaries (keys str or int), lists and tuples (both come back as lists), tensors, NumPy arrays of
            numbers or flags, and JSON scalars.

    Raises:
        TypeError: the state holds something else.
        OSError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, tensors)
    # One entry of metadata: several would stand in any order, and equal states shall give equal bytes.
    content = save(tensors, metadata={"checkpoint": json.dumps({"format": FORMAT, "state": tree})})
    with atomic_file(path) as file:
        file.write(content)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state that `write_checkpoint` wrote, tensors on the CPU.

    Raises:
        CheckpointError: the file is damaged or not a checkpoint.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
            if content.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is not a checkpoint of format {FORMAT!r}: it says {str(content.get('format'))[:80]!r}"
                )
            state = _decode(content["state"], file.get_tensor)
    except (SafetensorError, AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {str(error)[:200]}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__!r} where a dictionary is expected")
    return state


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return JSON that stands for a value; its tensors are put aside under the names it mentions."""
    if isinstance(value, Mapping):
        return {"dict": [[_key(key), _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_encode(item, tensors) for item in value]}
    if isinstance(value, (Tensor, np.ndarray)):
        name = f"{len(tensors)}"
        kind = "tensor" if isinstance(value, Tensor) else "array"
        source = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        tensors[name] = source.detach().cpu().clone().contiguous()
        return {kind: name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__!r}: {repr(value)[:80]}")


def _key(key: object) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise TypeError(f"a checkpoint's keys are text or whole numbers, not {repr(key)[:80]}")


def _decode(value: Any, tensor: Any) -> Any:
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "dict":
            return {key: _decode(item, tensor) for key, item in content}
        if kind == "list":
            return [_decode(item, tensor) for item in content]
        if kind == "tensor":
            return tensor(content)
        if kind == "array":
            return tensor(content).numpy()
        raise ValueError(f"unknown kind {kind[:40]!r}")
    return value
