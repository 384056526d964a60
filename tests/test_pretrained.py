"""The experiment on pretrained models end to end, in small: the packaged student stands for a pretrained model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.agents.student import PACKAGED_STUDENT


@pytest.mark.slow
def test_a_model_is_measured_as_it_is_and_with_its_adapter(tmp_path: Path, run_app: Callable[..., str]) -> None:
    run_app("pretrained", tmp_path, "--smoke", "--encoder", "hashing", "--model", str(PACKAGED_STUDENT))
    folder = tmp_path / "pretrained" / "smoke"
    rows = json.loads((folder / "results.json").read_text())["agents"]
    assert [row["agent"] for row in rows] == ["lexical actor", "model as it is", "model with adapter"]
    assert [row["goals"] for row in rows] == [8, 4, 8]
    assert all(row["errors"] == 0 for row in rows)
    report = json.loads((folder / "stages" / "5-student" / "model" / "report.json").read_text())
    assert report["steps"] == 4
