"""Experiments that are killed at random moments, and started again, end in the results of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

APPS = Path(__file__).resolve().parents[1] / "apps"
KILLS = 5


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process without its knowing")
@pytest.mark.parametrize("app", ["phase2", "tamiyo", "teachability"])
def test_a_run_killed_at_random_moments_ends_in_the_same_results(app: str, tmp_path: Path) -> None:
    started = time.monotonic()
    subprocess.run(command(app, tmp_path / "undisturbed"), capture_output=True, check=True)
    seconds = time.monotonic() - started
    rng = random.Random(0)
    exits = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(app, tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.1, 0.4) * seconds)
        process.send_signal(signal.SIGKILL)
        exits.append(process.wait())
    assert exits.count(-signal.SIGKILL) >= 3, "the run was over before it could be killed"
    subprocess.run(command(app, tmp_path / "killed"), capture_output=True, check=True)
    first, second = (
        (tmp_path / name / app / "smoke" / "results.json").read_bytes() for name in ("undisturbed", "killed")
    )
    assert first == second


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process without its knowing")
def test_teachability_killed_while_it_labels_trains_and_selects_ends_in_the_same_results(tmp_path: Path) -> None:
    subprocess.run(command("teachability", tmp_path / "undisturbed"), capture_output=True, check=True)
    rng = random.Random(0)
    killed = []
    for stage in ("05-labels", "08-matrix", "11-selection"):
        for _ in range(KILLS):
            process = subprocess.Popen(
                command("teachability", tmp_path / "killed"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert process.stdout is not None
            if any(stage in line and "started" in line for line in process.stdout):
                time.sleep(rng.uniform(0, 1))  # some before the workers have begun, some while they write
            process.send_signal(signal.SIGKILL)
            process.stdout.close()
            killed.append((stage, process.wait()))
    assert {status for _, status in killed} == {-signal.SIGKILL}, f"over before a kill: {killed}"
    subprocess.run(command("teachability", tmp_path / "killed"), capture_output=True, check=True)
    first, second = (
        (tmp_path / name / "teachability" / "smoke" / "results.json").read_bytes() for name in ("undisturbed", "killed")
    )
    assert first == second


def command(app: str, output: Path) -> list[str]:
    return [sys.executable, str(APPS / f"{app}.py"), "--smoke", "--output", str(output)]
