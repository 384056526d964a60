"""What the shop's server shows of an experiment's run: every recorded page as its own, and a fork from any."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from sightline.webshop_env.episodes import Recording, read_recordings

SERVE = "import sys; from sightline.webshop_env.commands.main import main; sys.exit(main())"


@contextmanager
def served(run: Path) -> Generator[httpx.Client]:
    """A client of `sightline-webshop serve --run RUN`."""
    command = [sys.executable, "-c", SERVE, "serve", "--port", "0", "--run", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+:\d+", server.stdout.readline())
            assert address, "the server did not start; its error is above"
            with httpx.Client(base_url=address[0], timeout=60) as client:
                yield client
        finally:
            server.terminate()


def recorded_files(run: Path) -> dict[str, Path]:
    """The files of a run that hold recorded episodes, by the name that the viewer gives them."""
    found = {}
    for path in (run / "stages").glob("*/*.jsonl"):
        with path.open() as file:
            if '"steps":' in file.readline():
                found[f"{path.parent.name}.{path.name}"] = path
    return found


def check_page(client: httpx.Client, address: str, recording: Recording, step: int) -> None:
    """One recorded page: shown as the shop's own, and a fork that stands there with the same clicks on offer."""
    shown = client.get(address, params={"step": step})
    assert shown.status_code == 200
    assert "Differs from this catalogue" not in shown.text, f"{address} step {step}"
    assert '<div class="shop card frozen">' in shown.text
    forked = client.post(f"{address}/fork", data={"step": str(step)})
    assert forked.status_code == 303
    assert forked.headers["location"] == "/play"
    played = client.get("/play").text
    assert f"<strong>{step}</strong> {'step' if step == 1 else 'steps'}" in played
    assert html.escape(recording.instruction, quote=True).replace("&#x27;", "&#39;") in played
    if step < len(recording.steps):
        offered = {html.unescape(value) for value in re.findall(r'name="action" value="([^"]*)"', played)}
        clicks = {action for action in recording.steps[step].available_actions if action.startswith("click[")}
        assert offered == clicks, f"{address} step {step}"


def check_run(run: Path) -> tuple[int, int]:
    """Look at every page of every episode of a run, and return how many episodes and pages there were."""
    episodes = pages = 0
    files = recorded_files(run)
    with served(run) as client:
        listed = client.get("/").text
        for name, path in files.items():
            assert f'href="/trajectories/{quote(name)}"' in listed
            for number, recording in enumerate(read_recordings(path)):
                episodes += 1
                for step in range(len(recording.steps) + 1):
                    pages += 1
                    check_page(client, f"/trajectories/{quote(name)}/{number}", recording, step)
    return episodes, pages


@pytest.mark.slow
def test_every_page_of_a_smoke_run_is_shown_as_its_own_and_forks(tmp_path: Path, run_app: Callable[..., str]) -> None:
    run_app("phase2", tmp_path, "--smoke", "--name", "look")
    run = tmp_path / "phase2" / "look"
    names = set(recorded_files(run))
    assert {"1-demonstrations.test.jsonl", "7-agent-baseline_rag.episodes.jsonl"} <= names
    episodes, pages = check_run(run)
    assert pages > 2 * episodes > 500


if __name__ == "__main__":
    print("{:,} episodes, {:,} pages: all shown as their own, all forked".format(*check_run(Path(sys.argv[1]))))
