from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sightline.webshop_env.episodes.recording import read_recordings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium, chromium-browser or google-chrome"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]

# Quiet and without a network: the pages load nothing from elsewhere.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

# A process of its own: two event loops in one thread would be in each other's way.
SERVER = """
import socket, sys
from dataclasses import replace
from pathlib import Path
import uvicorn
from sightline.webshop_env import Catalogue, Goal, Shop
from sightline.webshop_env.goals import GoalSet, HeldGoals
from sightline.webshop_env.product import Product
from sightline.webshop_env.episodes.recording import RecordedAttention, record, write_recordings
from sightline.webshop_env.server.app import create_app

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{7*7}}'
lamp = Product(asin="B0LAMP", title="Desk Lamp", description="It shines.", bullets=("dimmable",), pricing=(10.0,),
    price_tag="$10.0", category="electronics", query="desk lamp", product_category="Home › Lamps",
    options={"color": ("red", "blue"), "size": ("small", "large")}, attributes=("dimmable",))
evil = replace(lamp, asin="B0EVIL", title=f"Desk Lamp {EVIL}", description=EVIL,
    options={EVIL.lower(): (EVIL.lower(),)})
goal = Goal("B0LAMP", "electronics", "desk lamp", "Desk Lamp", "Home › Lamps", f"a red, small lamp {EVIL}",
    ("dimmable",), 40.0, {"color": "red", "size": "small"})
catalogue = Catalogue.from_products([lamp, evil])
shop = Shop(catalogue, GoalSet(HeldGoals([goal]), {"B0LAMP": 10.0, "B0EVIL": 10.0}, "human", 0), step_limit=30)

folder = Path(sys.argv[1])
state, moments = shop.start(0), []
for action in ("search[desk lamp]", "click[b0lamp]", "click[blue]", "click[buy now]"):
    moments.append((state, action))
    state, _ = shop.act(state, action)
recording = record(shop, moments, state, episode_id="one", agent=f"policy {EVIL}")
chunks = (RecordedAttention(text=EVIL, score=0.9, selected=True),
    RecordedAttention(text="rest", score=0.1, selected=False))
steps = [step.model_copy(update={"attention": chunks, "expert_action": step.action,
    "probabilities": tuple(0.5 if each == step.action else 0.1 for each in step.available_actions)})
    for step in recording.steps]
write_recordings(folder / "run.jsonl", [recording.model_copy(update={"steps": tuple(steps)})])

bound = socket.socket()
bound.bind(("127.0.0.1", 0))
bound.listen()
print(bound.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(create_app(shop, trajectories=folder), log_level="warning")).run(sockets=[bound])
"""


@dataclass(frozen=True)
class Site:
    address: str
    folder: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("trajectories")
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            assert port.isdecimal(), "the server did not start; its error is above"
            yield Site(f"http://127.0.0.1:{port}", folder)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh profile; whatever the browser complains about, and every request to elsewhere, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def check_address(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            complaints.append(f"request: {request.url}")

    page.on("dialog", dismiss)
    page.on("request", check_address)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    yield page
    context.close()
    assert complaints == []


def _search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")


def test_a_person_plays_an_episode_to_its_reward_and_goes_back_in_time(page: Page, site: Site) -> None:
    page.goto(site.address)
    page.get_by_role("button", name="Draw a goal").click()
    _search(page, "desk lamp")
    page.get_by_role("button", name="Desk Lamp", exact=True).click()
    page.get_by_role("button", name="red").click()
    assert page.get_by_role("button", name="red").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Buy Now").click()
    assert page.locator("#reward").inner_text() == "0.75"
    page.get_by_role("button", name="click[red]").click()
    page.get_by_role("button", name="small").click()
    page.get_by_role("button", name="Buy Now").click()
    assert page.locator("#reward").inner_text() == "1"
    assert "2 of 2 options" in page.locator(".formula").inner_text()


def test_a_trajectory_is_scrubbed_by_link_key_and_slider(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/trajectories/run.jsonl")
    page.get_by_role("link", name="0 a red, small lamp").click()
    action, position = page.locator("#action"), page.locator(".scrubber output")
    assert action.inner_text() == "search[desk lamp]"
    page.get_by_role("link", name="Next step").click()
    page.wait_for_url("**step=1")
    assert action.inner_text() == "click[b0lamp]"
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**step=2")
    assert action.inner_text() == "click[blue]"
    assert page.locator(".chip.taken").inner_text().startswith("blue")
    assert page.locator(".bars .taken .bar-value").first.inner_text() == "50.0%"
    page.locator("#slider").focus()
    page.keyboard.press("End")
    page.wait_for_url("**step=4")
    assert position.inner_text() == "4 / 4"
    assert page.locator("#reward").inner_text() == "0.5"
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**step=3")


def test_a_fork_is_played_on_and_its_branch_is_saved(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/trajectories/run.jsonl/0?step=2")
    page.get_by_role("button", name="Fork here").click()
    for name in ("red", "small", "Buy Now"):
        page.get_by_role("button", name=name).click()
    assert page.locator("#reward").inner_text() == "1"
    page.get_by_role("button", name="Save trajectory").click()
    name = page.locator(".notice.good a").inner_text()
    (branch,) = read_recordings(site.folder / name)
    actions = ["search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[buy now]"]
    assert [step.action for step in branch.steps] == actions
    assert (branch.agent, branch.total_reward) == ("person", 1.0)
    page.get_by_role("link", name=name).click()
    assert "reward 1" in page.locator(".episodes").inner_text()


def test_markup_in_what_products_and_recordings_say_does_nothing(page: Page, site: Site) -> None:
    def check() -> None:
        # The page fixture fails the test on any dialog.
        assert "<script>alert(1)</script>" in page.locator("body").inner_text()
        assert page.locator("main script, main img, [onerror]").count() == 0
        assert page.locator("script").evaluate_all("found => found.every(s => s.src.includes('/static/'))")

    page.goto(site.address)
    check()
    page.get_by_role("button", name="Play goal 0").click()
    _search(page, "desk lamp alert")
    assert "{{7*7}}" in page.locator(".hits").inner_text()
    check()
    page.get_by_role("button", name="alert(1)").click()
    page.wait_for_selector(".item")
    check()
    page.get_by_role("button", name="Description").click()
    page.wait_for_selector(".sub-page")
    check()
    for step in range(5):
        page.goto(f"{site.address}/trajectories/run.jsonl/0?step={step}")
        check()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_and_can_be_read(page: Page, site: Site, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(site.address)
    page.get_by_role("button", name="Draw a goal").click()
    _search(page, "desk lamp")
    # The check itself finds what is too pale.
    page.evaluate("document.body.style.color = '#777'")
    assert page.evaluate(POOR_CONTRAST) != []
    addresses = ("/", "/play", "/trajectories/run.jsonl", "/trajectories/run.jsonl/0?step=2")
    for address in addresses:
        page.goto(site.address + address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        assert page.evaluate(POOR_CONTRAST) == [], address


# The elements with text of their own whose colours are nearer than WCAG 2.1 AA allows (4.5 to 1).
POOR_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((e) => own(e) && e.checkVisibility() && !e.closest(".off, script, [aria-hidden=true]"))
    .map((e) => {
      const [a, b] = [luminance(parse(getComputedStyle(e).color).slice(0, 3)), luminance(behind(e))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 120)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""
