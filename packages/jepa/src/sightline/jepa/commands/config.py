"""`sightline-jepa config`: a complete configuration as YAML, each key with a comment that says what it means."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import Final, get_args

import yaml
from pydantic import BaseModel

from sightline.jepa.config import JEPAConfig

_WIDTH: Final = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    kinds = get_args(JEPAConfig.model_fields["model"].annotation)
    parser.add_argument(
        "--model", choices=kinds, default=JEPAConfig().model, help="kind of model (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the file to the standard output."""
    sys.stdout.write(complete_yaml(JEPAConfig(model=arguments.model)))


def complete_yaml(config: JEPAConfig) -> str:
    """Return a configuration as YAML that `JEPAConfig.from_yaml` reads back, with every key and its meaning.

    The width of the vectors is left as a comment, as `sightline-jepa train` takes it from the encoder.
    """
    head = "# A training run, complete: what is left out has the default that stands here.\n"
    return head + "\n".join(_lines(config, "")) + "\n"


def _lines(section: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        meaning = " ".join((field.description or "").replace("`", "").split())
        yield from textwrap.wrap(
            meaning, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
        )
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        else:
            written = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
            settled = "# " if (name, bool(indent)) in _TAKEN_FROM_DATA else ""
            yield f"{indent}{settled}{name}: {written}"


_TAKEN_FROM_DATA: Final = {("dimension", True), ("batch_size", True)}
"""Keys that the command train settles by the data unless they are written."""
