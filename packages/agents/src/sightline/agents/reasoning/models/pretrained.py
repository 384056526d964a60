"""A reasoner as a folder: `config.json`, `model.safetensors` and a card for people. No pickle anywhere."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sightline.agents.reasoning.config import HRMConfig, PlainConfig, TRMConfig, reasoner_config
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError

_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"


def write_reasoner(folder: Path, config: TRMConfig | HRMConfig | PlainConfig, model: nn.Module, card: str) -> None:
    """Write a model, each file atomically and the weights last, so that a folder with weights is complete."""
    files = {_CARD: card.encode(), _CONFIG: config.model_dump_json(indent=1).encode() + b"\n"}
    files[_WEIGHTS] = save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
    for name, content in files.items():
        with atomic_file(folder / name) as file:
            file.write(content)


def read_config(folder: Path) -> TRMConfig | HRMConfig | PlainConfig:
    """Read the configuration of a saved model.

    Raises:
        FileNotFoundError: the folder holds no model.
        RecordError: the configuration is damaged, or of a newer version.
    """
    path = folder / _CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no reasoner: there is no {_CONFIG}")
    try:
        return reasoner_config.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecordError(f"{path}, {place}: {first['msg']}") from error


def read_weights(folder: Path, model: nn.Module) -> None:
    """Load saved weights into a model of the same shape, all of them or none.

    Raises:
        RecordError: the file is damaged, or its weights are another architecture's; the first that differs is named.
    """
    path = folder / _WEIGHTS
    try:
        stored = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError) as error:
        raise RecordError(f"{path} cannot be read: {error}; save the model again") from error
    own: dict[str, Tensor] = model.state_dict()
    for name in sorted(own.keys() | stored.keys()):
        expected = list(own[name].shape) if name in own else None
        found = list(stored[name].shape) if name in stored else None
        if expected != found:
            raise RecordError(
                f"{path} is of another architecture: {name} is {_shape(found)} there, but {_CONFIG} makes it "
                f"{_shape(expected)}"
            )
    model.load_state_dict(stored)


def model_card(config: TRMConfig | HRMConfig | PlainConfig, parameters: int, training: str) -> str:
    """Return what people should know of a saved model, in Markdown.

    Args:
        config: the model.
        parameters: trainable numbers.
        training: how it was made and how well it does, in Markdown.
    """
    names = {"trm": "Tiny recursive model", "hrm": "Hierarchical reasoning model", "plain": "Plain network"}
    return f"""---
library_name: sightline-agents
tags: [reasoning, {config.kind}, {config.task}]
---
# {names[config.kind]} for {config.task}

{parameters:,} parameters, width {config.width}, {config.layers} layers, cells mixed by {config.mixing}.

```python
from sightline.agents.reasoning import load_reasoner

model = load_reasoner("FOLDER")
answers = model.solve(puzzles)  # .cells, .solved (checked by the rules), .steps, .confidence
```

It answers {config.task} puzzles and nothing else. Its confidence is an estimate; `solved` is a check of the rules.

{training or "How it was trained was not written down."}
"""


def _shape(shape: list[int] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
