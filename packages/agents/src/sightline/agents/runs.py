"""Run directories: where an experiment keeps its settings, stages and results, so that a killed run can resume.

A stage writes into a temporary folder that is renamed when the stage is complete, and its caller always reads the
result back from disk. A resumed run therefore sees exactly what an undisturbed one sees.
This module knows nothing of what the stages compute.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml

from sightline.retrieval.files import atomic_file

logger = logging.getLogger(__name__)

_MANIFEST_SCHEMA_VERSION = 1


class RunError(RuntimeError):
    """A run directory cannot be used as asked."""


class RunDirectory:
    """One experiment's folder: `config.yaml`, `manifest.json`, `stages/`, `metrics.jsonl`, `results.json`.

    Args:
        path: the folder; made when missing.
        settings: JSON-able settings of the experiment. A folder belongs to one set of settings.

    Raises:
        RunError: the folder was made with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._check_settings(settings)
        shutil.rmtree(path / "unfinished", ignore_errors=True)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        file = self.path / "config.yaml"
        text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
        if not file.exists():
            write_text(file, text)
            return
        before, now = yaml.safe_load(file.read_text(encoding="utf-8")) or {}, yaml.safe_load(text) or {}
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            differences = "; ".join(f"{key}: {before.get(key)!r} then, {now.get(key)!r} now" for key in changed)
            message = f"{self.path} was made with other settings ({differences}). Choose another --name or delete it."
            raise RunError(message)

    def stage(self, name: str, compute: Callable[[Path], None]) -> Path:
        """Compute a stage unless it is complete, and return its folder.

        Args:
            name: folder name of the stage.
            compute: writes the stage's files into the folder it is given.
        """
        folder = self.path / "stages" / name
        if folder.exists():
            logger.info("%s: already there", name)
            return folder
        logger.info("%s: started", name)
        started = time.monotonic()
        unfinished = self.path / "unfinished" / name
        unfinished.mkdir(parents=True)
        compute(unfinished)
        _sync_tree(unfinished)
        folder.parent.mkdir(exist_ok=True)
        unfinished.replace(folder)
        seconds = time.monotonic() - started
        self._note_stage(name, seconds)
        logger.info("%s: finished in %.1f s", name, seconds)
        return folder

    def _note_stage(self, name: str, seconds: float) -> None:
        manifest = self._read_manifest()
        manifest["stage_seconds"][name] = round(seconds, 2)
        write_text(self.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")

    def _read_manifest(self) -> dict[str, Any]:
        file = self.path / "manifest.json"
        if file.exists():
            return json.loads(file.read_text(encoding="utf-8"))
        return {
            "schema_version": _MANIFEST_SCHEMA_VERSION,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": _git_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())},
            "stage_seconds": {},
        }

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds that each completed stage took, in order of completion."""
        return self._read_manifest()["stage_seconds"]

    def finish(self, results: Mapping[str, Any], **notes: Any) -> None:
        """Write `results.json` and `metrics.jsonl` (the stages' own, in order) and complete the manifest.

        Args:
            results: what the experiment found; the same for every run with the same settings.
            notes: what else the manifest should hold, for example seeds or a catalogue's fingerprint.
        """
        lines = []
        for name in sorted(folder.name for folder in (self.path / "stages").iterdir()):
            file = self.path / "stages" / name / "metrics.jsonl"
            if file.exists():
                lines += [
                    json.dumps({"stage": name} | json.loads(line))
                    for line in file.read_text(encoding="utf-8").splitlines()
                ]
        write_text(self.path / "metrics.jsonl", "".join(line + "\n" for line in lines))
        write_text(self.path / "results.json", json.dumps(results, indent=2, sort_keys=True) + "\n")
        manifest = self._read_manifest() | notes | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
        write_text(self.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write a stage's `metrics.jsonl`: one JSON object a line."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as file:
        file.write(text.encode())


def _sync_tree(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _git_commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
