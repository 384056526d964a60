"""The shop as a BrowserGym task: an agent shops on the shop's own pages, in an installed Chromium.

BrowserGym opens the browser, turns pages into observations and executes the agent's clicks; this module opens the
episode, and tells its reward and its end.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from sightline.webshop_env.browser.pages import ShopSite, launch_options
from sightline.webshop_env.rules.reward import score_purchase
from sightline.webshop_env.server.sessions import SessionError

try:
    import browsergym.core
    from browsergym.core.env import BrowserEnv
    from browsergym.core.task import AbstractBrowserTask
    from playwright.sync_api import sync_playwright
except ImportError as error:
    raise ImportError(
        "the BrowserGym task needs BrowserGym; install it with: pip install 'sightline-webshop-env[browsergym]'"
    ) from error

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState

_MILLISECONDS_TO_WAIT = 15_000


class ShopTask(AbstractBrowserTask):
    """One episode on a site: the reward is that of the purchase, and the purchase or the step limit is the end.

    Whoever opens another episode on the site, which its start page offers, has left this one: it ends without reward.

    Args:
        seed: seed of the random results of the query `<r>`, and of the goal where none is named.
        site: site that serves the shop.
        goal: index into the shop's goals; drawn by weight when None.
    """

    @classmethod
    def get_task_id(cls) -> str:
        """Return the name under which BrowserGym would register the task."""
        return "webshop"

    def __init__(self, seed: int | None, site: ShopSite, goal: int | None = None) -> None:
        super().__init__(seed)  # ty: ignore[invalid-argument-type]  # NumPy's generator takes None as well
        self.slow_mo = 0
        self.timeout = _MILLISECONDS_TO_WAIT
        self._site = site
        self._goal = goal
        self._seed = seed
        self._session = ""

    def setup(self, page: Page) -> tuple[str, dict[str, Any]]:
        """Open the episode and show its first page; the goal is the instruction."""
        opened = self._site.sessions.create(self._goal, self._seed)
        self._site.sessions.close(opened.identifier)
        session = self._site.show(page, opened.state)
        self._session = session.identifier
        return self._site.shop.goal(session.state).instruction_text, self._facts(session.state)

    def validate(self, page: Page, chat_messages: list[str]) -> tuple[float, bool, str, dict[str, Any]]:
        """Return reward, end, no message, and the facts of the episode: goal, steps, parts of the reward."""
        try:
            state = self._site.sessions.get(self._session).state
        except SessionError:
            return 0.0, True, "", {"left": True}
        return state.reward, state.done or state.truncated, "", self._facts(state)

    def teardown(self) -> None:
        """Forget the episode."""
        with suppress(SessionError):
            self._site.sessions.close(self._session)

    def _facts(self, state: ShopState) -> dict[str, Any]:
        facts = {"goal": state.goal, "steps": state.steps, "done": state.done, "truncated": state.truncated}
        if state.done and state.asin is not None:
            shop = self._site.shop
            price, options = shop.goals.prices[state.asin], dict(state.options)
            product = shop.product(state.asin)
            parts = score_purchase(product, shop.goal(state), price=price, options=options, nouns=shop.nouns)
            facts["reward_info"] = parts.as_info()
        return facts


class ShopBrowserEnv(BrowserEnv):
    """BrowserGym's environment over a shop, with the installed browser for the shop and for BrowserGym's own chat.

    Args:
        shop: shop in which the episodes take place.
        goal: index of the goal of every episode; drawn with the seed of each reset when None.
        options: further arguments of BrowserGym's `BrowserEnv`.
    """

    def __init__(self, shop: Shop, goal: int | None = None, **options: Any) -> None:
        self._site = ShopSite(shop).__enter__()
        self._installed = _Installed.use()
        super().__init__(ShopTask, {"site": self._site, "goal": goal}, **options)

    def close(self) -> None:
        """End the browser and the site."""
        super().close()
        self._site.__exit__(None, None, None)
        self._installed.release()


class _Installed:
    """Playwright whose `chromium.launch` starts the installed browser.

    BrowserGym's chat window starts a browser of its own and takes no path; both ask one global Playwright.
    """

    def __init__(self) -> None:
        self._playwright: Playwright = sync_playwright().start()
        self._users = 0
        self.chromium = self

    @classmethod
    def use(cls) -> _Installed:
        """Return BrowserGym's global Playwright after making it one of these, started where there is none yet."""
        held: Any = browsergym.core._PLAYWRIGHT
        if not isinstance(held, cls):
            if held is not None:
                held.stop()  # one that BrowserGym started
            held = cls()
            browsergym.core._set_global_playwright(cast("Playwright", held))
        held._users += 1
        return held

    def release(self) -> None:
        """Stop Playwright after its last user, so that others may start theirs in this thread."""
        self._users -= 1
        if not self._users:
            browsergym.core._set_global_playwright(cast("Playwright", None))
            self._playwright.stop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._playwright, name)

    def launch(self, *, args: list[str] | None = None, **options: Any) -> Any:
        installed = launch_options()
        return self._playwright.chromium.launch(
            **{"executable_path": installed["executable_path"], **options},
            args=[*(args or ()), *installed["args"]],
        )
