"""`apps/shop.py` serves the shop, opens a browser at it, and closes at an interrupt."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

SHOP = Path(__file__).resolve().parents[1] / "apps" / "shop.py"

pytest.importorskip("uvicorn")


@contextmanager
def opened(*flags: str) -> Generator[str]:
    """Yield the address at which the shop is open; it must close with status 0 when it is interrupted."""
    process = subprocess.Popen([sys.executable, str(SHOP), *flags], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        greeting = process.stdout.readline()
        found = re.search(r"http://\S+/", greeting)
        assert found, greeting
        yield found.group()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


def test_the_shop_answers_at_the_address_that_it_prints() -> None:
    with opened("--no-browser", "--products", "40", "--step-limit", "15") as address:
        page = urllib.request.urlopen(address, timeout=60).read().decode()
    assert "<!doctype html>" in page.lower()


def test_the_browser_is_opened_once_the_shop_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visited, browser = tmp_path / "visited", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {visited}.part && mv {visited}.part {visited}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with opened("--products", "40") as address:
        while not visited.exists():  # pytest's time-out ends an endless wait
            time.sleep(0.05)
    assert visited.read_text().strip() == address


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [sys.executable, str(SHOP), "--no-browser", "--run", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
