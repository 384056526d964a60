"""The shop's own pages in an installed Chromium: served inside this process, seen as pictures and accessibility trees.

No browser is downloaded: Playwright drives the Chromium or Chrome that the system has. Nothing here knows of goals,
rewards or trainers.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, SupportsFloat

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sightline.webshop_env.errors import WebShopError
from sightline.webshop_env.gym.env import PageText, WebShopEnv
from sightline.webshop_env.server.sessions import Session, Sessions

try:
    import uvicorn
    from PIL import Image
    from playwright.sync_api import Browser, Page, Playwright, sync_playwright

    from sightline.webshop_env.server.app import create_app
    from sightline.webshop_env.server.cookie import NAME
except ImportError as error:
    raise ImportError(
        "pages in a browser need Playwright, Pillow and the server; install them with: "
        "pip install 'sightline-webshop-env[browser]'"
    ) from error

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState

MAX_TREE_CHARACTERS: Final = 200_000

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS: Final = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
_SECONDS_TO_START: Final = 60.0
_UNSEEN_ROLES: Final = frozenset({"generic", "none", "InlineTextBox", "LineBreak", "ListMarker"})
_SHOWN_PROPERTIES: Final = ("focused", "disabled", "checked", "pressed", "expanded", "selected", "level")


class BrowserError(WebShopError, RuntimeError):
    """There is no browser, or the site that it should show does not start."""


def find_chromium() -> str:
    """Return the path of the installed Chromium or Chrome.

    Raises:
        BrowserError: there is none.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise BrowserError(f"no browser is installed: looked for {', '.join(_NAMES)}; on Debian: apt install chromium")
    return found


def launch_options() -> dict[str, Any]:
    """Return what Playwright's `chromium.launch` takes to start the installed browser."""
    # Chromium refuses to run as root inside its sandbox; the pages are our own.
    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    return {"executable_path": find_chromium(), "args": [*_FLAGS, *root]}


class ShopSite:
    """The web pages of a shop, served by a thread of this process on a free port of this machine.

    Args:
        shop: shop in which all episodes take place.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.sessions = Sessions(shop)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(create_app(shop, sessions=self.sessions), log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        """Start to serve.

        Raises:
            BrowserError: it does not start within a minute.
        """
        self._thread.start()
        until = time.monotonic() + _SECONDS_TO_START
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise BrowserError("the shop's site did not start; the log says why")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def show(self, page: Page, state: ShopState) -> Session:
        """Bring a browser's page to a state; what is clicked there acts in the session that is returned.

        The session records no past, so that the page offers no way back in time.
        """
        session = self.sessions.adopt(state, None)
        page.context.add_cookies([{"name": NAME, "value": session.identifier, "url": self.address}])
        page.goto(f"{self.address}/play")
        return session


@dataclass(frozen=True, slots=True)
class Sight:
    """What a browser shows."""

    screenshot: npt.NDArray[np.uint8]
    """[height, width, 3] bytes of red, green and blue."""
    accessibility_tree: str
    """One line for each element that assistive technology would tell of, indented by depth."""


def look(page: Page) -> Sight:
    """Return what a page shows now: the picture of its window, and its accessibility tree."""
    with Image.open(BytesIO(page.screenshot())) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    session = page.context.new_cdp_session(page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    return Sight(pixels, accessibility_lines(nodes)[:MAX_TREE_CHARACTERS])


def accessibility_lines(nodes: Sequence[Mapping[str, Any]]) -> str:
    """Return an accessibility tree as indented lines such as `button "Buy Now" focused`.

    Args:
        nodes: nodes as Chromium's protocol gives them (`Accessibility.getFullAXTree`), the root first.
    """
    by_identifier = {node["nodeId"]: node for node in nodes}

    def lines(node: Mapping[str, Any], depth: int, above: str) -> Iterator[str]:
        role, name = _value(node, "role"), " ".join(_value(node, "name").split())
        # A text inside a button says again what the button is called.
        told = not node.get("ignored") and role not in _UNSEEN_ROLES and not (role == "StaticText" and name in above)
        if told:
            quoted = f' "{name}"' if name else ""
            states = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
            marks = [
                known if states[known] in (True, "true") else f"{known}={states[known]}"
                for known in _SHOWN_PROPERTIES
                if states.get(known) not in (None, False, "false")
            ]
            yield " ".join([f"{'  ' * depth}{role}{quoted}", *marks])
        for child in node.get("childIds", ()):
            if child in by_identifier:
                yield from lines(by_identifier[child], depth + told, name or above if told else above)

    return "\n".join(lines(nodes[0], 0, "")) if nodes else ""


def _value(node: Mapping[str, Any], field: str) -> str:
    return str(node.get(field, {}).get("value", ""))


class BrowserObservations(gymnasium.Wrapper[dict[str, Any], str, str, str]):
    """Show every page of an environment in a browser: observations are its text, a picture and a tree.

    The episode itself is the environment's: actions stay `search[...]` and `click[...]`, snapshots go on working. A
    browser is started by the first reset and ended by `close`.

    Args:
        env: environment whose pages to show.
        width: width of the window, in pixels.
        height: height of the window, in pixels.
    """

    def __init__(self, env: WebShopEnv, width: int = 1280, height: int = 720) -> None:
        super().__init__(env)  # ty: ignore[invalid-argument-type]  # it mistakes the wrapper's types for the environment's
        self._shop_env = env
        self._size = {"width": width, "height": height}
        self.observation_space = spaces.Dict(
            {
                "text": env.observation_space,
                "screenshot": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "accessibility_tree": PageText(MAX_TREE_CHARACTERS),
            }
        )
        self._site: ShopSite | None = None
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._page: Page | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Open an episode and show its first page.

        Raises:
            BrowserError: there is no browser.
        """
        text, info = self._shop_env.reset(seed=seed, options=options)
        return self.observe(text), info

    def step(self, action: str) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Take an action in the environment and show the page after it."""
        text, reward, terminated, truncated, info = self._shop_env.step(action)
        return self.observe(text), reward, terminated, truncated, info

    def observe(self, text: str) -> dict[str, Any]:
        """Return the observation of the state in which the environment stands, for example after a restore.

        Args:
            text: environment's own observation of it.
        """
        site, page = self._opened()
        session = site.show(page, self._shop_env.state)
        sight = look(page)
        site.sessions.close(session.identifier)
        return {"text": text, "screenshot": sight.screenshot, "accessibility_tree": sight.accessibility_tree}

    def close(self) -> None:
        """End the browser and the site."""
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()
        if self._site is not None:
            self._site.__exit__(None, None, None)
        self._site = self._playwright = self._browser = self._page = None
        super().close()

    def _opened(self) -> tuple[ShopSite, Page]:
        if self._site is None or self._page is None:
            options = launch_options()
            self._site = ShopSite(self._shop_env.shop).__enter__()
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(**options)
            self._page = self._browser.new_page(viewport={"width": self._size["width"], "height": self._size["height"]})
        return self._site, self._page
