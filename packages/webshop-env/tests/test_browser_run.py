"""A run's recorded episodes in a real browser: every page shown as its own, and every page forked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, render_rich, rule_action
from sightline.webshop_env.episodes import Generated, Recording, best_action, record, write_recordings, write_shop

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium, chromium-browser or google-chrome"),
]

SERVE = (
    "import argparse, sys; from sightline.webshop_env.server.command import add_arguments, run;"
    "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run(parser.parse_args()))"
)


UNSEEN = {"(clicked)", "The search bar, and nothing else."}  # what only a recording's page says


SHOPPERS: dict[str, Callable[[Shop, ShopState], str | None]] = {
    "best": best_action,
    "rule": lambda shop, state: rule_action(shop.goal(state).instruction_text, shop.page(state)),
    "lost": lambda shop, state: "click[next >]" if state.steps % 2 else "search[lamp]",
}


@dataclass(frozen=True)
class Run:
    address: str
    shop: Shop
    files: dict[str, list[Recording]]


def play(shop: Shop, goal: int, agent: str) -> Recording:
    """One episode of a shopper."""
    state, moments = shop.start(goal, goal), []
    while not (state.done or state.truncated):
        action = SHOPPERS[agent](shop, state)
        assert action is not None
        moments.append((state, action))
        state, _ = shop.act(state, action)
    return record(shop, moments, state, episode_id=f"{agent}-{goal}", agent=agent, seed=goal, render=render_rich)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run as an experiment leaves it, with generated products of another seed than the server's own."""
    folder = tmp_path_factory.mktemp("run")
    catalogue = Catalogue.generate(80, seed=7)
    shop = Shop(catalogue, build_goals(catalogue, "human", 7), step_limit=6)
    write_shop(folder / "shop.json", shop, Generated(products=80, seed=7))
    files = {}
    for agent in SHOPPERS:
        name = f"7-agent-{agent}"
        files[f"{name}.episodes.jsonl"] = [play(shop, goal, agent) for goal in range(2)]
        (folder / "stages" / name).mkdir(parents=True)
        write_recordings(folder / "stages" / name / "episodes.jsonl", files[f"{name}.episodes.jsonl"])
    command = [sys.executable, "-c", SERVE, "--port", "0", "--run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+:\d+", server.stdout.readline())
            assert address, "the server did not start; its error is above"
            yield Run(address[0], shop, files)
        finally:
            server.terminate()


@pytest.fixture
def page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    options: dict[str, Any] = {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu"]}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options)
        page = browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_every_page_of_every_episode_is_its_own_and_is_forked(run: Run, page: Page) -> None:
    page.goto(run.address)
    assert {link.inner_text() for link in page.locator('a[href^="/trajectories/"]').all()} >= set(run.files)
    ends = set()
    for name, recordings in run.files.items():
        page.goto(f"{run.address}/trajectories/{name}")
        assert page.locator(".episodes li").count() == len(recordings)
        for number, recording in enumerate(recordings):
            ends.add((recording.terminated, recording.truncated))
            for step in range(len(recording.steps) + 1):
                page.goto(f"{run.address}/trajectories/{name}/{number}?step={step}")
                assert page.get_by_text("Differs from this catalogue").count() == 0
                assert page.get_by_text("cannot be shown").count() == 0
                shown = page.locator(".shop").inner_text()
                page.get_by_role("button", name="Fork here").click()
                page.wait_for_url("**/play")
                forked = page.locator(".shop").inner_text()
                assert _lines(shown) <= _lines(forked)
                assert page.locator(".episode .steps").inner_text() == f"{step} step{'s' * (step != 1)} of 6"
            # The fork before the last action is played to the recorded end.
            page.goto(f"{run.address}/trajectories/{name}/{number}?step={len(recording.steps) - 1}")
            page.get_by_role("button", name="Fork here").click()
            page.wait_for_url("**/play")
            if recording.terminated:
                page.get_by_role("button", name="Buy Now").click()
                assert page.locator("#reward").inner_text() == f"{recording.total_reward:.3g}"
    assert ends == {(True, False), (False, True)}


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip()} - UNSEEN
