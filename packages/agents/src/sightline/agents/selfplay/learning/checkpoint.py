"""A training's state in one file: weights, optimiser, arrays and scalars; safetensors, written in one go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

Arrays = dict[str, dict[str, NDArray[np.generic]]]
_VERSION = 1


def write_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimiser: optim.Optimizer, arrays: Arrays, scalars: dict[str, Any]
) -> None:
    """Write all of it, or leave what was there.

    Args:
        path: the file.
        modules: modules by name.
        optimiser: one whose state is tensors, such as AdamW.
        arrays: arrays by group and name.
        scalars: what JSON can hold.
    """
    import torch
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for group, module in modules.items():
        tensors |= {f"module/{group}/{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": torch.as_tensor(tensor) for name, tensor in state.items()}
    for group, named in arrays.items():
        # A view as bytes: safetensors has no unsigned 64-bit integers in every version.
        tensors |= {f"array/{group}/{name}": torch.from_numpy(_as_bytes(array)) for name, array in named.items()}
    kinds = {
        f"{group}/{name}": [array.dtype.str, array.shape]
        for group, named in arrays.items()
        for name, array in named.items()
    }
    header = {"version": _VERSION, "arrays": kinds, "scalars": scalars}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata={"training": json.dumps(header)}))


def read_checkpoint(
    path: Path, optimiser: optim.Optimizer
) -> tuple[dict[str, dict[str, Tensor]], Arrays, dict[str, Any]]:
    """Read what `write_checkpoint` wrote: (weights by module and name, arrays, scalars); the optimiser takes its state.

    Raises:
        RecordError: the file is no such checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("training", "null"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except SafetensorError as error:
        raise RecordError(f"{path} is no checkpoint: {error}. Delete it to begin anew.") from error
    if not isinstance(header, dict) or header.get("version") != _VERSION:
        raise RecordError(f"{path} is no checkpoint of self-play in version {_VERSION}. Delete it to begin anew.")
    weights: dict[str, dict[str, Tensor]] = {}
    arrays: Arrays = {}
    states: dict[int, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        kind, group, name = full.split("/", 2)
        if kind == "module":
            weights.setdefault(group, {})[name] = tensor
        elif kind == "optimiser":
            states.setdefault(int(group), {})[name] = tensor
        else:
            dtype, shape = header["arrays"][f"{group}/{name}"]
            array = np.frombuffer(tensor.numpy().tobytes(), np.dtype(dtype)).reshape(shape)
            arrays.setdefault(group, {})[name] = array
    optimiser.load_state_dict(optimiser.state_dict() | {"state": states})
    return weights, arrays, header["scalars"]


def _as_bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).copy()
