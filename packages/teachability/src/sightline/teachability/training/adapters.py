"""Low-rank adapters on one base model: drawn from a seed, swapped, hashed, written and read.

The base stays in memory once and is never written to. An adapter is a dictionary of tensors; which one is in the model
is the business of `AdapterSlot` alone, so many trained students can be evaluated in turn without leaking into another.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.teachability.files import sync_folder
from sightline.teachability.jsonl import RecordError
from sightline.teachability.training._extra import peft, torch, transformers
from sightline.teachability.training_records import LearnerConfig

Tensors = Mapping[str, "torch.Tensor"]

_ADAPTER = "default"
_FILE = "adapter_model.safetensors"
_SETTINGS = "adapter_config.json"


class AdapterSlot:
    """A base model with a place for one adapter at a time.

    Args:
        model: a Hugging Face causal language model; its linear layers get adapters, so use it through the slot from
            now on.
        config: rank and scale.
        targets: names of the modules that get adapters; default all linear layers but embeddings and head.

    Raises:
        ValueError: no module fits, or one is the embedding or the head: where those are tied, an adapter on either is
            lost or ends in the other, and where they are not, it is large.
    """

    def __init__(self, model: Any, config: LearnerConfig, *, targets: list[str] | None = None) -> None:
        names = linear_layers(model) if targets is None else targets
        forbidden = _ends(model)
        bad = [name for name in names if any(name == end or end.endswith(f".{name}") for end in forbidden)]
        if bad or not names:
            raise ValueError(f"adapters must be on linear layers other than embeddings and head, not on {bad or names}")
        settings = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=names,
            bias="none",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # PEFT draws weights that `draw` replaces
            # PEFT reads a property that transformers has renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            self.model: Any = peft.get_peft_model(model, settings, adapter_name=_ADAPTER).eval()
        self.base = self._digest({n: p for n, p in self.model.named_parameters() if "lora_" not in n})
        self._parameters = {n: p for n, p in self.model.named_parameters() if "lora_" in n}
        self._present: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The adapter's trainable tensors, by name."""
        return self._parameters

    def draw(self, seed: int) -> dict[str, torch.Tensor]:
        """Return a new adapter: A uniform in +-1/sqrt(inputs), B zero, so the model still is its base.

        It follows from the seed alone, whatever was drawn before in the process.
        """
        generator = torch.Generator().manual_seed(seed)
        adapter = {}
        for name in sorted(self._parameters):
            like = self._parameters[name]
            if "lora_A" in name:
                bound = like.shape[1] ** -0.5
                drawn = torch.rand(like.shape, generator=generator, dtype=torch.float32) * 2 * bound - bound
                adapter[name] = drawn.to(like.dtype)
            else:
                adapter[name] = torch.zeros(like.shape, dtype=like.dtype)
        return adapter

    def empty(self) -> dict[str, torch.Tensor]:
        """Return an adapter that changes nothing at all."""
        return {name: torch.zeros(like.shape, dtype=like.dtype) for name, like in self._parameters.items()}

    def put(self, adapter: Tensors, name: str) -> None:
        """Put an adapter into the model, unless the one of this name is there.

        Args:
            adapter: all of its tensors.
            name: what to know it by, such as its digest.

        Raises:
            ValueError: it is of another model or another rank.
        """
        if name == self._present:
            return
        shapes = {key: tuple(tensor.shape) for key, tensor in adapter.items()}
        expected = {key: tuple(tensor.shape) for key, tensor in self._parameters.items()}
        if shapes != expected:
            odd = sorted(set(shapes.items()) ^ set(expected.items()))[:2]
            raise ValueError(f"the adapter does not fit this model; first differences: {odd}")
        self._present = None
        with torch.no_grad():
            for key, tensor in adapter.items():
                self._parameters[key].copy_(tensor)
        self._present = name

    def touched(self) -> None:
        """Note that the adapter in the model has been changed in place."""
        self._present = None

    def take(self) -> dict[str, torch.Tensor]:
        """Return a copy of the adapter that is in the model."""
        return {name: parameter.detach().clone().cpu() for name, parameter in self._parameters.items()}

    def check_base(self) -> None:
        """Check that the weights below the adapters are as they were.

        Raises:
            RuntimeError: they are not; nothing measured since the last check can be trusted.
        """
        now = self._digest({n: p for n, p in self.model.named_parameters() if "lora_" not in n})
        if now != self.base:
            raise RuntimeError(f"the base model has changed: its digest was {self.base} and is {now}")

    def write(self, adapter: Tensors, folder: Path) -> None:
        """Write an adapter as PEFT does, whole or not at all, so that `peft.PeftModel.from_pretrained` reads it."""
        self.put(adapter, adapter_digest(adapter))
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        try:
            # Embeddings are never changed; whether they were is what peft would look for on the hub.
            self.model.save_pretrained(unfinished, save_embedding_layers=False)
            _sort_targets(unfinished / _SETTINGS)
            mode = stat.S_IMODE((unfinished / _SETTINGS).stat().st_mode)
            for file in unfinished.iterdir():
                if file.is_file():
                    file.chmod(mode)  # the library makes weights that their owner alone may read, whatever the umask
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
            sync_folder(unfinished)
            if folder.exists():
                shutil.rmtree(folder)
            unfinished.replace(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        """Read an adapter.

        Raises:
            FileNotFoundError: there is none.
            RecordError: the file is damaged, or belongs to another model.
        """
        file = folder / _FILE
        if not file.exists():
            raise FileNotFoundError(f"{folder} holds no adapter ({_FILE})")
        try:
            stored = peft.load_peft_weights(str(folder), device="cpu")
        except Exception as error:  # safetensors has its own, and the operating system's come as well
            raise RecordError(f"{file} is damaged ({error}); train the run again") from error
        names = {name.replace(f".{_ADAPTER}.", "."): name for name in self._parameters}
        if set(stored) != set(names):
            raise RecordError(f"{file} belongs to another model: {len(set(stored) ^ set(names))} tensors differ")
        return {names[name]: tensor for name, tensor in stored.items()}

    @staticmethod
    def _digest(tensors: Tensors) -> str:
        return adapter_digest(tensors)


def _sort_targets(file: Path) -> None:
    """Name the layers in a fixed order: PEFT keeps them in a set, whose order differs between processes."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content["target_modules"] = sorted(content["target_modules"])
    file.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def linear_layers(model: Any) -> list[str]:
    """Return the names of all linear layers but embeddings and head."""
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    ends = _ends(model)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and name not in ends]


def adapter_digest(tensors: Tensors) -> str:
    """Return a digest of names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _ends(model: Any) -> set[str]:
    """Return names of the embedding and the head."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    return {name for name, module in model.named_modules() if any(module is end for end in ends if end is not None)}
