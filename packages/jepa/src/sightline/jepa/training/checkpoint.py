"""A training run between two epochs, in one file that is replaced whole.

The tensors are safetensors; everything else is one JSON document in the file's metadata, so that the two cannot come
apart. Nothing in the file is executed when it is read. Order of pairs, dropout, routing noise and curriculum follow
from (seed, epoch) and learning rate, tau and temperature from the step, so these numbers are their whole state.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor
from torch.optim import Optimizer

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.files import atomic_file
from sightline.jepa.models.model import from_first_version
from sightline.jepa.training.history import EpochRecord

_KEY = "state"


class CheckpointError(ValueError):
    """A checkpoint cannot be resumed from; the message says why and what to do."""


class CheckpointState(BaseModel):
    """Where a run stands, without its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants")

    schema_version: Literal[2] = 2
    """Version of this record."""
    config: JEPAConfig
    """Configuration of the run."""
    dataset: str
    """`fingerprint` of the data it trains on."""
    epoch: int = Field(ge=0)
    """Epochs that are done."""
    step: int = Field(ge=0)
    """Optimisation steps that are done."""
    best_epoch: int = Field(ge=0)
    """Epoch with the best validation score, earliest of equals."""
    negatives: str | None = None
    """`negatives_fingerprint` of the mined negatives; None without."""
    history: tuple[EpochRecord, ...]
    """One record per epoch, epoch 0 first."""

    @model_validator(mode="before")
    @classmethod
    def _read_first_version(cls, values: Any) -> Any:
        return from_first_version(values)

    def extended(self, epochs: int | None, patience: int | None) -> JEPAConfig:
        """Return the configuration with another number of epochs or another patience; None keeps it.

        Raises:
            ValueError: fewer epochs are asked for than are done.
        """
        if epochs is not None and epochs < self.epoch:
            raise ValueError(f"the run has done {self.epoch} epochs, so it cannot end after {epochs}; ask for more")
        changed = {name: value for name, value in (("epochs", epochs), ("patience", patience)) if value is not None}
        training = self.config.training.model_dump() | changed
        return JEPAConfig.model_validate(self.config.model_dump() | {"training": training})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run's state and its tensors by name."""

    state: CheckpointState
    tensors: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write the file; whoever reads it finds this checkpoint or the one before, whole."""
        content = safetensors.torch.save(self.tensors, metadata={_KEY: self.state.model_dump_json()})
        with atomic_file(path) as file:
            file.write(content)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file is damaged or of another version.
        """
        content = path.read_bytes()
        try:
            tensors = safetensors.torch.load(content)
            # The header is a length in 8 bytes and that much JSON (format of safetensors).
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            state = CheckpointState.model_validate_json(header.get("__metadata__", {}).get(_KEY, ""))
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); delete it to train anew") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"{path}, field {field!r}: {first['msg']}; delete it to train anew") from error
        return cls(state, tensors)

    @classmethod
    def resume(cls, path: Path, dataset: SteeringDataset) -> Checkpoint:
        """Read what `save` wrote, for going on with the data that it was made with.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file is damaged, of another version, or was made with other data.
        """
        checkpoint = cls.load(path)
        if checkpoint.state.dataset != fingerprint(dataset):
            raise CheckpointError(f"{path} was made with another data set; resume with that one or train anew")
        return checkpoint


def fingerprint(dataset: SteeringDataset) -> str:
    """Return the SHA-256 of everything that training reads from a data set."""
    digest = hashlib.sha256()
    for name in (
        "questions",
        "sources",
        "pairs",
        "pair_split",
        "question_category",
        "source_category",
        "source_text_ids",
        "category_vectors",
        "keyword_vectors",
        "centroids",
    ):
        array = np.ascontiguousarray(getattr(dataset, name))
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()


def negatives_fingerprint(negatives: NDArray[np.int64] | None) -> str | None:
    """Return the SHA-256 of mined negatives `[P, N]`, or None of None."""
    if negatives is None:
        return None
    array = np.ascontiguousarray(negatives, dtype=np.int64)
    return hashlib.sha256(f"{array.shape} ".encode() + array.tobytes()).hexdigest()


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as `<parameter number>.<name>` -> tensor."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took; the parameters must be those of before, in their order."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
