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
SIZES = ["--smoke", "--encoder", "hashing", "--test-goals", "12", "--no-ablations"]


def results(output: Path, *flags: str) -> bytes:
    command = [sys.executable, str(ROOT / "apps" / "phase2.py"), "--output", str(output), *SIZES, *flags]
    # Workers compute with one thread each, and sums over more threads differ in their last digits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return (output / "phase2" / "smoke" / "results.json").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return results(tmp_path_factory.mktemp("here"), "--injections", "0.3")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_workers_give_the_results_of_this_process(expected: bytes, tmp_path: Path, engine: str) -> None:
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'sightline-agents[ray]'")
    found = results(tmp_path, "--injections", "0.3", "--engine", engine, "--workers", "2")
    assert b'"attacks"' in found
    assert found == expected
