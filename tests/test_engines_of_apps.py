"""Experiments on every engine: the same results, byte for byte."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A neural encoder's vectors differ in their last digits with the texts that share a batch, and so with the engine.
FLAGS = {
    "phase2": ["--encoder", "hashing", "--test-goals", "12", "--no-ablations", "--injections", "0.3"],
    "headroom": [],
}
PARTS = {"phase2": b'"attacks"', "headroom": b'"best_schedule"'}
"""What each app's results must hold, whatever the engine."""


def results(output: Path, app: str, *flags: str) -> bytes:
    command = [sys.executable, str(ROOT / "apps" / f"{app}.py"), "--output", str(output), "--smoke", *flags]
    # Workers compute with one thread each, and sums over more threads differ in their last digits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return (output / app / "smoke" / "results.json").read_bytes()


@pytest.fixture(scope="module", params=list(PARTS))
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    app = request.param
    return app, results(tmp_path_factory.mktemp("here"), app, *FLAGS[app], "--engine", "in-process")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_workers_give_the_results_of_this_process(expected: tuple[str, bytes], tmp_path: Path, engine: str) -> None:
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'sightline-agents[ray]'")
    app, here = expected
    found = results(tmp_path, app, *FLAGS[app], "--engine", engine, "--workers", "2")
    assert PARTS[app] in found
    assert found == here
