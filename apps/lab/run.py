"""Run folders: where an experiment keeps its settings, stages and results, so that a killed run can resume.

A stage writes into a temporary folder that is renamed when the stage is complete, and its caller always reads the
result back from disk. A resumed run therefore sees exactly what an undisturbed one sees.
This module knows nothing of what the stages compute.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shutil
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from sightline.retrieval.files import atomic_file, sync_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

logger = logging.getLogger(__name__)

LAYOUT: Final = 2
"""Version of a run's folder, its `schema_version`; to be raised when stages of earlier runs must not be read any more.
Layout 1 is that of version 0.1."""

_WAY_OUT = "Choose another --name, or delete the folder."


class RunError(RuntimeError):
    """A run's folder cannot be used as asked; the message says why and what to do."""


class Making(NamedTuple):
    """What is said while a stage is made."""

    words: str
    """What is made, for example "an expert shops for all goals"."""
    time: str
    """How long that takes in a default run on two cores, for example "half a minute"."""


class RunDirectory:
    """One experiment's folder: `config.yaml`, `manifest.json`, `stages/`, `metrics.jsonl`, `results.json`.

    Args:
        path: folder of the run; made when missing.
        settings: JSON-able settings that identify the run. A folder belongs to one set of settings.
        smoke: whether the run is a small one, so that whoever shows its results can say so.
        making: name of a stage -> what is said when it begins; of others that is their name alone.

    Raises:
        RunError: the folder is another version's, has other settings, is in use, or is no run's at all.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        smoke: bool = False,
        making: Mapping[str, Making] | None = None,
    ) -> None:
        self.path = path
        self.smoke = smoke
        self._making = making or {}
        self._stages: dict[Path, tuple[str, str]] = {}
        self._enter()
        self._check_settings(settings)
        shutil.rmtree(path / "unfinished", ignore_errors=True)

    def _enter(self) -> None:
        """Make the folder a run's, or check that it is one of this layout, and keep other processes out of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.path / "manifest.json"
        if not manifest.exists():
            if held := sorted(file.name for file in self.path.iterdir() if not _is_leftover(file)):
                raise RunError(
                    f"{self.path} holds {', '.join(held[:3])} but no manifest.json: it is no run, or one of version "
                    f"0.1 that finished nothing. {_WAY_OUT}"
                )
            _write_json(manifest, _first_manifest())
        version = self._read_manifest().get("schema_version")
        if version != LAYOUT:
            maker = "version 0.1" if version == 1 else f"a version with layout {version!r}"
            raise RunError(
                f"{self.path} was made by {maker} of the experiments, whose stages this version does not read. Its "
                f"report stays as it is. To compute anew: {_WAY_OUT[0].lower()}{_WAY_OUT[1:]}"
            )
        self._lock()
        for file in self.path.iterdir():
            if _is_leftover(file):
                file.unlink()

    def _lock(self) -> None:
        if fcntl is None:
            return
        descriptor = os.open(self.path / "run.lock", os.O_CREAT | os.O_RDWR, 0o666)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{self.path} is in use by another process. Wait for it, or choose another --name."
            ) from None

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        file = self.path / "config.yaml"
        text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
        if not file.exists():
            write_text(file, text)
            return
        try:
            then, now = (dict(_flat(yaml.safe_load(each))) for each in (file.read_text(encoding="utf-8"), text))
        except (yaml.YAMLError, ValueError) as error:
            raise RunError(f"{file} is damaged ({error}). {_WAY_OUT}") from error
        changed = sorted(key for key in then.keys() | now.keys() if then.get(key, _ABSENT) != now.get(key, _ABSENT))
        if changed:
            shown = "; ".join(f"{key}: {then.get(key, _ABSENT)} then, {now.get(key, _ABSENT)} now" for key in changed)
            raise RunError(f"{self.path} was made with other settings ({shown}). {_WAY_OUT}")

    def stage(self, stage: str, compute: Callable[[Path], object], variant: str = "") -> Path:
        """Compute a stage unless it is complete, and return its folder.

        Args:
            stage: name of the stage; a run shows its stages, and joins their metrics, in alphabetical order.
            compute: function that writes the stage's files into the folder it is given.
            variant: what tells stages of one name apart, for example a method and a seed.

        Raises:
            ValueError: another stage of this run has the same folder, as their names differ in punctuation only.
        """
        folder = self.stage_folder(stage, variant)
        other = self._stages.setdefault(folder, (stage, variant))
        if other != (stage, variant):
            raise ValueError(f"{(stage, variant)} and {other} would be one folder, {folder.name}; rename one of them")
        if folder.exists():
            logger.info("%s: already there", folder.name)
            shutil.rmtree(self._work_path(stage, variant), ignore_errors=True)
            return folder
        logger.info("%s: %s", folder.name, self._beginning(stage))
        started = time.monotonic()
        unfinished = self.path / "unfinished" / folder.name
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        compute(unfinished)
        seconds = time.monotonic() - started
        _write_json(unfinished / "stage.json", {"seconds": round(seconds, 2)})
        _sync_tree(unfinished)
        folder.parent.mkdir(exist_ok=True)
        unfinished.replace(folder)
        sync_folder(folder.parent)
        shutil.rmtree(self._work_path(stage, variant), ignore_errors=True)
        logger.info("%s: finished in %.1f s", folder.name, seconds)
        return folder

    def _beginning(self, stage: str) -> str:
        """Return what is said when a stage begins; a smoke run takes no time worth telling."""
        making = self._making.get(stage)
        if making is None:
            return "started"
        return making.words if self.smoke else f"{making.words}, {making.time}"

    def stage_folder(self, stage: str, variant: str = "") -> Path:
        """Return the folder that a stage has, or will have."""
        return self.path / "stages" / "-".join([stage, *([slug(variant)] if variant else [])])

    def work_folder(self, stage: str, variant: str = "") -> Path:
        """Return a folder for what a stage resumes from; it outlives a killed run, and goes when the stage is done."""
        folder = self._work_path(stage, variant)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _work_path(self, stage: str, variant: str) -> Path:
        return self.path / "work" / self.stage_folder(stage, variant).name

    def stage_seconds(self, stage: str, variant: str = "") -> float:
        """Return how long a complete stage took, without what a killed start had spent on it."""
        return float(_read_json(self.stage_folder(stage, variant) / "stage.json")["seconds"])

    @property
    def seconds(self) -> float:
        """Sum of the seconds of all complete stages."""
        return sum(self._all_seconds().values())

    def _all_seconds(self) -> dict[str, float]:
        return {file.parent.name: _read_json(file)["seconds"] for file in sorted(self.path.glob("stages/*/stage.json"))}

    def finish(self, results: Mapping[str, Any], **notes: Any) -> None:
        """Write `results.json` and `metrics.jsonl` (the stages' own, in order) and complete the manifest.

        Args:
            results: what the experiment found; the same for every run with the same settings, so that no time is in it.
            notes: what else the manifest should hold, for example seeds or a catalogue's fingerprint.
        """
        lines = [
            json.dumps({"stage": file.parent.name} | json.loads(line))
            for file in sorted(self.path.glob("stages/*/metrics.jsonl"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        write_text(self.path / "metrics.jsonl", "".join(line + "\n" for line in lines))
        write_text(self.path / "results.json", json.dumps(results, indent=2, sort_keys=True) + "\n")
        finished = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "stage_seconds": self._all_seconds()}
        _write_json(self.path / "manifest.json", self._read_manifest() | {"smoke": self.smoke} | notes | finished)

    def _read_manifest(self) -> dict[str, Any]:
        return _read_json(self.path / "manifest.json")


def slug(name: str) -> str:
    """Return a name as part of a file's name: letters, digits, dots, underscores, and one hyphen for all else."""
    return re.sub(r"[^\w.]+", "-", name).strip("-")


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a stage's `metrics.jsonl`: one JSON object a line."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a stage's `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as file:
        file.write(text.encode())


_ABSENT: Final = "nothing"


def _is_leftover(file: Path) -> bool:
    """Return whether this is what a kill leaves of a file that was being written, by the names of `atomic_file`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{32}\.tmp", file.name) is not None


def _flat(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every single setting under its dotted name."""
    if not name and not isinstance(settings, dict):
        raise ValueError("it holds no settings")
    if isinstance(settings, dict) and (settings or not name):
        for key, value in settings.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, repr(settings)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). {_WAY_OUT}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged (it holds no JSON object). {_WAY_OUT}")
    return content


def _first_manifest() -> dict[str, Any]:
    return {
        "schema_version": LAYOUT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())},
    }


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _git_commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
