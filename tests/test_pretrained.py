"""The experiment on pretrained models end to end, in small: the packaged student stands for a pretrained model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.agents.student import PACKAGED_STUDENT

APP = Path(__file__).resolve().parents[1] / "apps" / "pretrained.py"


@pytest.mark.slow
def test_a_model_is_measured_as_it_is_and_with_its_adapter(tmp_path: Path) -> None:
    command = [sys.executable, str(APP), "--output", str(tmp_path), "--smoke", "--encoder", "hashing"]
    done = subprocess.run([*command, "--model", str(PACKAGED_STUDENT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "pretrained" / "smoke"
    rows = json.loads((folder / "results.json").read_text())["agents"]
    assert [row["agent"] for row in rows] == ["lexical actor", "model as it is", "model with adapter"]
    assert [row["goals"] for row in rows] == [8, 4, 8]
    assert all(row["errors"] == 0 for row in rows)
    report = json.loads((folder / "stages" / "5-student" / "model" / "report.json").read_text())
    assert report["steps"] == 4
