"""The class of the original WebShop, with its signatures, over this shop.

Programs written for the original keep working: classic four-tuple `step`, sessions, `server=` to share a
catalogue. It knows nothing of Gymnasium, and holds no global state: goals, prices and draws follow from `seed`.
"""

from __future__ import annotations

import operator
import random
import string
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.goals.goals import build_goals, draw_goal, filter_goals, limit_goals
from sightline.webshop_env.rules.render import RENDERERS, SEPARATOR, render_html, url
from sightline.webshop_env.rules.shop import Shop
from sightline.webshop_env.rules.state import PageKind

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.official.reading import StrPath
    from sightline.webshop_env.product import Goal
    from sightline.webshop_env.rules.pages import AvailableActions

GoalRecord = dict[str, Any]
"""A goal under the original's keys: `asin`, `category`, `query`, `name`, `product_category`,
`instruction_text`, `attributes`, `price_upper`, `goal_options` and `weight`."""

_MODES: Final = (*RENDERERS, "url")
_NAME_LENGTH: Final = 10


class GoalRecords(Sequence[GoalRecord]):
    """The goals of a shop as dictionaries, each made when asked for: changing one changes nothing else.

    Args:
        goals: what the shop's episodes can ask for.
    """

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._goals = goals

    def __len__(self) -> int:
        return len(self._goals)

    @overload
    def __getitem__(self, index: int) -> GoalRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[GoalRecord]: ...
    def __getitem__(self, index: int | slice) -> GoalRecord | list[GoalRecord]:
        if isinstance(index, slice):
            return [_record(goal) for goal in self._goals[index]]
        return _record(self._goals[index])


def _record(goal: Goal) -> GoalRecord:
    options = goal.goal_options
    return {
        "asin": goal.asin,
        "category": goal.category,
        "query": goal.query,
        "name": goal.name,
        "product_category": goal.product_category,
        "instruction_text": goal.instruction_text,
        "attributes": list(goal.attributes),
        "price_upper": goal.price_upper,
        "goal_options": list(options) if isinstance(options, tuple) else dict(options),
        "weight": goal.weight,
    }


class SimServer:
    """What environments share: a shop, its goals, and a record of the open sessions.

    Args:
        shop: the shop.

    Attributes:
        shop: the shop.
        goals: the goals, under the original's keys; an integer session is an index into them.
        user_sessions: by session name `{"goal": ..., "done": ...}`, and after a purchase also `reward` and
            `verbose_info`, the parts of the reward. Holds the sessions that are open, not those of the past.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.goals = GoalRecords(shop.goals.goals)
        self.user_sessions: dict[str, dict[str, Any]] = {}


class WebAgentTextEnv:
    """The text environment of the original WebShop.

    The arguments after `server` describe the server that is made when none is given.

    Args:
        observation_mode: "html", "text", "text_rich" or "url".
        file_path: the official product file. Attributes and human instructions are read from the files that the
            original keeps beside it (`items_ins_v2*.json` with the same ending, `items_human_ins.json`).
        server: another environment's `server`, to share its catalogue, index and goals.
        catalogue: products, in place of `file_path`; without both, products are made up.
        num_products: keep this many products from the head of the file, or make up this many (1,000 by default).
        human_goals: goals written by people; as in the original, generated ones by default.
        filter_goals: `filter_goals(index, goal)` says whether to keep a goal.
        limit_goals: keep this many goals, drawn by weight; -1 keeps all.
        session: of the episode that is opened at construction; see `reset`.
        session_prefix: stands before every session's name.
        show_attrs: whether item pages offer the page of attributes.
        num_prev_obs: prepend this many past observations to each observation.
        num_prev_actions: prepend this many past actions to each observation.
        get_image: must be false: the image features of the original are no longer published.
        seed: of prices, price limits, the goals kept by `limit_goals`, and draws at `reset`.

    Attributes:
        server: shared data, see `SimServer`.
        session: name of the session, prefix included.
        instruction_text: what `reset` was given or else found on the page, "Instruction: " included.

    Raises:
        ValueError: an unknown mode, image features, or both a server and products.
        CatalogueError: a data file is missing or malformed.
        GoalError: there are no goals of this kind.
    """

    def __init__(
        self,
        observation_mode: str = "html",
        file_path: StrPath | None = None,
        server: SimServer | None = None,
        *,
        catalogue: Catalogue | None = None,
        num_products: int | None = None,
        human_goals: bool | None = None,
        filter_goals: Callable[[int, GoalRecord], bool] | None = None,
        limit_goals: int = -1,
        session: int | str | None = None,
        session_prefix: str | None = None,
        show_attrs: bool = False,
        num_prev_obs: int = 0,
        num_prev_actions: int = 0,
        get_image: bool = False,
        seed: int = 42,
    ) -> None:
        if observation_mode not in _MODES:
            raise ValueError(
                f"observation_mode must be one of {', '.join(map(repr, _MODES))}, not {observation_mode!r}"
            )
        if get_image:
            raise ValueError(
                "get_image is not offered: it needs the original's feature file (feat_conv.pt), which can no longer "
                "be downloaded; leave it out"
            )
        if server is not None and not (file_path is None and catalogue is None):
            raise ValueError("give a server or products, not both: a server has its catalogue")
        if server is None:
            catalogue = _catalogue(catalogue, file_path, num_products)
            server = SimServer(_shop(catalogue, human_goals, filter_goals, limit_goals, show_attrs, seed))
        self.server = server
        self.observation_mode = observation_mode
        self.session_prefix = session_prefix or ""
        self.session = ""
        self.instruction_text = ""
        self._num_prev_obs = num_prev_obs
        self._num_prev_actions = num_prev_actions
        self._rng = random.Random(seed)
        self._record: dict[str, Any] = {}
        self._history: deque[tuple[str, str]] = deque(maxlen=max(num_prev_obs, num_prev_actions, 0))
        self._episode = Episode(server.shop, goes_on=True)
        self._action_error: str | None = None
        self.reset(session)

    def reset(self, session: int | str | None = None, instruction_text: str | None = None) -> tuple[str, None]:
        """Open an episode.

        Args:
            session: a goal's index (negative ones count from the end), or a session's name, whose goal is drawn by
                weight; None makes a name up.
            instruction_text: text that stands in place of the goal's; the goal stays as it is.

        Returns:
            The observation and None.

        Raises:
            GoalError: there is no such goal.
            TypeError: the session is neither integer nor string nor None.
        """
        shop = self.server.shop
        if session is None:
            name = "".join(self._rng.choices(string.ascii_lowercase, k=_NAME_LENGTH))
        elif isinstance(session, str):
            name = session
        else:
            session = _goal_index(session, len(self.server.goals))
            name = str(session)
        goal = session if isinstance(session, int) else draw_goal(shop.goals, self._rng)
        state = shop.start(goal, self._rng.getrandbits(32))
        # A step limit belongs to the five-tuple, which can say that an episode was cut short.
        self._episode.move(state._replace(step_limit=None))
        self.close()
        self.session = self.session_prefix + name
        self._record = {"goal": self.server.goals[goal], "done": False}
        self.server.user_sessions[self.session] = self._record
        self._history.clear()
        self._action_error = None
        self.instruction_text = self.get_instruction_text() if instruction_text is None else instruction_text
        return self.observation, None

    def step(self, action: str) -> tuple[str, float, bool, None]:
        """Take an action.

        Args:
            action: `search[words]` or `click[label]`; anything else changes nothing.

        Returns:
            The observation after past ones, the reward, whether something was bought by this action, and None.

        Raises:
            TypeError: the action is no string.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is a string such as 'search[desk lamp]', not {action!r}")
        if self._history.maxlen:
            self._history.append((self.observation, action))
        turn = self._episode.act(action)
        outcome, self._action_error = turn.outcome, turn.error
        if outcome.parts is not None:
            self._record.update(done=True, reward=outcome.reward, verbose_info=outcome.parts.as_info())
        return self._with_history(), outcome.reward, outcome.done, None

    @property
    def action_is_valid(self) -> bool:
        """Whether the page took the last action; True before the first one."""
        return self._action_error is None

    @property
    def action_error(self) -> str | None:
        """Why the page did not take the last action, and what it would have taken; None where it did."""
        return self._action_error

    def get_state(self) -> bytes:
        """Write the episode down, without the session's name and past observations."""
        return self._episode.snapshot()

    def set_state(self, state: bytes) -> str:
        """Go back to where `get_state` was called, in this or any environment of the same catalogue and goals.

        Returns:
            The observation.

        Raises:
            SnapshotError: the state cannot be restored here; the environment stays as it was.
        """
        self._episode.restore(state)
        self._action_error = None
        self._history.clear()
        self._record["goal"] = self.server.goals[self._episode.state.goal]
        self._record["done"] = self._episode.state.done
        self.instruction_text = self.get_instruction_text()
        return self.observation

    def get_available_actions(self) -> AvailableActions:
        """Whether the page has a search bar, and what can be clicked, in lower case and page order."""
        return self._episode.page.available_actions

    def get_instruction_text(self) -> str:
        """Return what the page says about the goal, spelt as by the original; after a purchase as on other pages."""
        space = " " if self._episode.state.kind is PageKind.INDEX else ""
        return f"Instruction:{space}{self._episode.instruction}"

    @property
    def observation(self) -> str:
        """The page as the observation mode shows it, without history."""
        if self.observation_mode == "url":
            return url(self._episode.state, self.session)
        return RENDERERS[self.observation_mode](self._episode.page)

    @property
    def state(self) -> dict[str, str]:
        """The page's `url`, its `html`, and the `instruction_text`."""
        return {
            "url": url(self._episode.state, self.session),
            "html": render_html(self._episode.page),
            "instruction_text": self.instruction_text,
        }

    def close(self) -> None:
        """Forget the session; calling it again does nothing."""
        if self.server.user_sessions.get(self.session) is self._record:
            del self.server.user_sessions[self.session]

    def _with_history(self) -> str:
        parts = []
        for age, (observation, action) in zip(range(len(self._history), 0, -1), self._history, strict=True):
            if age <= self._num_prev_obs:
                parts.append(observation)
            if age <= self._num_prev_actions:
                parts.append(action)
        return SEPARATOR.join([*parts, self.observation])


def _goal_index(session: object, count: int) -> int:
    try:
        index = operator.index(session)  # ty: ignore[invalid-argument-type]  # anything else is refused below
    except TypeError:
        raise TypeError(
            f"a session is a goal's index, a name, or None to make one up, not {str(session)[:80]!r} "
            f"({type(session).__name__})"
        ) from None
    return index + count if -count <= index < 0 else index


def _catalogue(catalogue: Catalogue | None, file_path: StrPath | None, num_products: int | None) -> Catalogue:
    if catalogue is not None:
        if file_path is not None or num_products is not None:
            raise ValueError("a catalogue has its products: give file_path and num_products only without one")
        return catalogue
    if file_path is None:
        return Catalogue.generate() if num_products is None else Catalogue.generate(num_products)
    products = Path(file_path)
    ending = products.name.removeprefix("items_shuffle")
    beside = (products.with_name(f"items_ins_v2{ending}"), products.with_name("items_human_ins.json"))
    attributes, human = (path if path.is_file() else None for path in beside)
    return Catalogue.from_official(products, attributes, human, num_products)


def _shop(
    catalogue: Catalogue,
    human_goals: bool | None,
    keep: Callable[[int, GoalRecord], bool] | None,
    limit: int,
    show_attributes: bool,
    seed: int,
) -> Shop:
    goals = build_goals(catalogue, "human" if human_goals else "synthetic", seed)
    if keep is not None:
        goals = filter_goals(goals, lambda index, goal: keep(index, _record(goal)))
    if limit != -1:
        goals = limit_goals(goals, limit, random.Random(seed))
    return Shop(catalogue, goals, show_attributes=show_attributes)
