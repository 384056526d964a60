"""Apps, run to their end as a person runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

APPS = Path(__file__).resolve().parents[1] / "apps"


@pytest.fixture(scope="session")
def start_app() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Function of an app's name, a folder for what it writes, and further flags; however the app ends."""

    def start(app: str, output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(APPS / f"{app}.py"), *flags, "--output", str(output)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return start


@pytest.fixture(scope="session")
def run_app(start_app: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """Function of the same arguments, for an app that must end well; it returns what was printed."""

    def run(app: str, output: Path, *flags: str) -> str:
        done = start_app(app, output, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
