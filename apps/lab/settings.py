"""The settings that all experiments share, and how a command line and a YAML file become settings.

An experiment's settings are a subclass of `RunSettings`; a field's default stands in its definition and its meaning
below it. Modules of settings import nothing that trains, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class RunSettings(BaseModel):
    """Settings of every experiment; the docstring of a subclass stands above the flags of its `--help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)

    SMOKE: ClassVar[Mapping[str, Any]] = {}
    """What `--smoke` sets."""
    FULL: ClassVar[Mapping[str, Any]] = {}
    """What `--full` sets, in an experiment whose settings have a field `full`."""
    INCIDENTAL: ClassVar[frozenset[str]] = frozenset({"config", "output"})
    """Settings that change no result, so that a stopped run may go on with others."""

    name: str = "default"
    """Name of the run; its folder is OUTPUT/APP/NAME. A run that was stopped resumes under its name."""
    output: Path = Path("runs")
    """Folder that holds all runs."""
    config: Path | None = None
    """YAML file with any of these settings; flags on the command line win over it."""
    smoke: bool = False
    """A version of about one minute that does little of everything. Shows that everything runs, not who wins."""
    seed: int = Field(default=0, ge=0)
    """Root of all randomness of the run."""

    def identity(self) -> dict[str, Any]:
        """Return what a run is known by, as JSON-able settings: runs of equal identity have equal results."""
        return self.model_dump(mode="json", by_alias=True, exclude=set(self.INCIDENTAL))

    @field_validator("name")
    @classmethod
    def _is_the_name_of_a_folder(cls, name: str) -> str:
        if name in ("", "..") or Path(name).name != name:
            raise ValueError(f"a run's name becomes the name of a folder, which {name!r} cannot be")
        return name


HASHING = "hashing"
"""Name of the encoder without a model."""


class EncoderSettings(RunSettings):
    """Settings of experiments that embed texts; see `lab.encoder.open_encoder`."""

    encoder: str | None = None
    """Sentence-transformers model that embeds texts, an id or a path; without it the packaged MiniLM (384-d). The word
    `hashing` stands for hashed words and parts of words: no model, no meaning, and hardly any time."""


class EngineSettings(RunSettings):
    """Settings of experiments whose work can be spread; see `lab.engine.open_engine`. They change no result."""

    INCIDENTAL: ClassVar[frozenset[str]] = RunSettings.INCIDENTAL | {"engine", "workers", "address"}

    engine: Literal["in-process", "processes", "ray"] = "in-process"
    """Where episodes are played and labelled: here, in worker processes of this machine, or on Ray."""
    workers: int = Field(default=2, ge=1)
    """Most workers at a time, one thread each; with the engine in-process there are none."""
    address: str | None = None
    """Address of a Ray cluster, for example auto or ray://host:10001; without it Ray is started on this machine."""

    @model_validator(mode="after")
    def _address_is_rays(self) -> Self:
        if self.address is not None and self.engine != "ray":
            raise ValueError("--address is that of a Ray cluster: give --engine ray too")
        return self


class WorkerSettings(EngineSettings):
    """Settings of experiments that consist of jobs, one for each worker at a time; see `lab.jobs.Workers`."""

    engine: Literal["in-process", "processes", "ray"] = "processes"
    """Where jobs are done: here one after another, in worker processes of this machine, or on Ray, all of whose
    machines must see the output folder."""


Settings = TypeVar("Settings", bound=RunSettings)


def introduce(about: str | None, arguments: Sequence[str]) -> None:
    """Print what a script is for and how it is called, above its `--help`, where that is asked for.

    Args:
        about: docstring of the script.
        arguments: command line without the program's name.
    """
    if about and {"-h", "--help"} & set(arguments):
        print(about)


def parse_settings(settings_type: type[Settings], arguments: Sequence[str], about: str | None = None) -> Settings:
    """Return settings from defaults, then `--smoke` or `--full`, then the `--config` file, then the other flags.

    What is wrong with a file or a flag is printed, and ends the program.

    Args:
        settings_type: settings of the experiment.
        arguments: command line without the program's name.
        about: docstring of the script, which heads its `--help`.
    """
    introduce(about, arguments)
    file = _flag_value(arguments, "--config")
    given = {} if file is None else _read_yaml(Path(file)) | {"config": Path(file)}
    for preset, fixed in (("smoke", settings_type.SMOKE), ("full", settings_type.FULL)):
        if f"--{preset}" in arguments or given.get(preset) is True:
            given = {preset: True, "name": preset} | dict(fixed) | given
    try:
        default = settings_type.model_validate(given)
    except ValidationError as error:
        sys.exit("\n".join(f"{file or '--smoke'}: {line}" for line in _explained(error)))
    return tyro.cli(settings_type, args=list(arguments), default=default)


def _flag_value(arguments: Sequence[str], flag: str) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.exit(f"--config {path}: there is no such file")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"--config {path}: cannot be read: {error}")
    except yaml.YAMLError as error:
        sys.exit(f"--config {path}: not YAML: {error}")
    if not isinstance(content, dict):
        sys.exit(f"--config {path}: expected a mapping of settings, found {type(content).__name__}")
    return content


def _explained(error: ValidationError) -> list[str]:
    """Return one line for each thing that is wrong."""
    lines = []
    for each in error.errors(include_url=False):
        name = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            lines.append(f"{name}: there is no such setting; --help shows all")
        else:
            lines.append(f"{name}: {each['msg']}" if name else each["msg"])
    return lines
