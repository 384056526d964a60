"""The shop as a Gymnasium environment: holds the current state, and nothing that the shop itself knows."""

from __future__ import annotations

import copy
import difflib
import operator
import random
import string
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, get_args

import gymnasium
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.episodes.episode import Episode, EpisodeError
from sightline.webshop_env.episodes.snapshot import Moment, decode, encode
from sightline.webshop_env.goals.goals import GoalKind, GoalSet, build_goals, draw_goal, split_indices
from sightline.webshop_env.rules.pages import SEPARATOR
from sightline.webshop_env.rules.render import RENDERERS, render_rich, url
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH, RESULT_LIMIT, Shop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sightline.webshop_env.product import Goal
    from sightline.webshop_env.rules.pages import Page
    from sightline.webshop_env.rules.state import ShopState

ENVIRONMENT_ID = "sightline/WebShop-v0"

ObservationMode: TypeAlias = Literal["html", "text", "text_rich", "url"]

_MAX_OBSERVATION_LENGTH = 1 << 22
_SAMPLE_LENGTH = 32


class PageText(Space[str]):
    """All strings up to a length; Gymnasium's `Text` has an alphabet, and pages hold any character.

    Args:
        max_length: in characters.
        seed: of `sample`.
    """

    def __init__(self, max_length: int, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.max_length = max_length

    @property
    def is_np_flattenable(self) -> bool:
        """False: a string has no array form here."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """Draw a short printable string; masks have no meaning here and must be None."""
        if mask is not None or probability is not None:
            raise ValueError("a string space takes neither mask nor probability")
        length = int(self.np_random.integers(min(_SAMPLE_LENGTH, self.max_length) + 1))
        return "".join(self.np_random.choice(list(string.printable), length))

    def contains(self, x: object) -> bool:
        """Whether x is a string of at most `max_length` characters."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PageText) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((PageText, self.max_length))

    def __repr__(self) -> str:
        return f"PageText({self.max_length})"


class WebShopEnv(gymnasium.Env[str, str]):
    """A shop in which an agent searches for, configures and buys a product that an instruction describes.

    ## Action Space
    Strings. `search[words]` searches, on any page. `click[label]` clicks a button, a product or an option value
    that the page offers, upper or lower case. Anything else is invalid: nothing changes and the reward is 0.

    ## Observation Space
    The page as a string, by observation mode: `text` (visible strings joined by " [SEP] "), `text_rich` (one per
    line, what can be clicked in brackets), `html` or `url`.

    ## Rewards
    0, but for a purchase: the share of the goal's attributes, options and price limit that the purchase meets, times a
    factor for the kind of product; 1 is success.

    ## Starting State
    The index page with the instruction of `options={"goal": i}`, or of a goal drawn by weight.

    ## Episode End
    - Termination: a purchase.
    - Truncation: `step_limit` steps without one. The limit belongs to the state, so that a snapshot holds it.

    ## Information
    `available_actions` (`has_search_bar` and `clickables`), `url`, `instruction_text`; from `step` also
    `action_is_valid` and, where that is False, `action_error`, the reason with a way out; with `lenient_actions`
    `action_repairs` where something was repaired; at the end also `reward_info`, the parts of the reward.

    ## Arguments
    See below. `gymnasium.make("sightline.webshop_env:sightline/WebShop-v0", goals="synthetic")` takes the same.

    ## Version History
    - v0: first version; pages and rewards as the published WebShop text environment of 2022.

    Args:
        catalogue: the products; 1,000 generated ones when None.
        goals: "human", "synthetic", or goals made before.
        observation_mode: "html", "text", "text_rich" or "url".
        seed: of prices and price limits; the seed of an episode is that of `reset`.
        split: draw goals only from this split: "test", "dev" or "train".
        shop: use this shop, which other environments may share, instead of making one; then catalogue stays None,
            and goals, seed and show_attributes are the shop's.
        show_attributes: whether item pages offer the page of attributes.
        step_limit: truncate after this many steps; None for the shop's limit, or no limit.
        previous_observations: prepend this many past observations to each observation.
        previous_actions: prepend this many past actions to each observation.
        lenient_actions: take an action that is only badly wrapped (blanks, `Action:`, a code fence, a JSON tool
            call) for the action in it; `info["action_repairs"]` says what was repaired.
        steps_after_end: "error" refuses a step after a purchase or the step limit; "allow" takes it, as the original
            does: the shop then goes on, and neither `terminated` nor `truncated` says that the episode was over.
        render_mode: "ansi" makes `render` return the page as `text_rich`.
    """

    # Without a frame rate Gymnasium's checker warns, even though nothing moves here.
    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (declared so by Gymnasium)

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        goals: GoalKind | GoalSet = "human",
        observation_mode: ObservationMode = "text",
        seed: int = 42,
        *,
        split: str | None = None,
        shop: Shop | None = None,
        show_attributes: bool = False,
        step_limit: int | None = None,
        previous_observations: int = 0,
        previous_actions: int = 0,
        lenient_actions: bool = False,
        steps_after_end: Literal["error", "allow"] = "error",
        render_mode: str | None = None,
    ) -> None:
        if observation_mode not in get_args(ObservationMode):
            modes = ", ".join(map(repr, get_args(ObservationMode)))
            raise ValueError(f"observation_mode must be one of {modes}, not {observation_mode!r}")
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be 'ansi' or None, not {render_mode!r}")
        if steps_after_end not in ("error", "allow"):
            raise ValueError(f"steps_after_end must be 'error' or 'allow', not {steps_after_end!r}")
        if shop is None:
            catalogue = Catalogue.generate() if catalogue is None else catalogue
            goals = goals if isinstance(goals, GoalSet) else build_goals(catalogue, goals, seed)
            shop = Shop(catalogue, goals, show_attributes=show_attributes)
        elif catalogue is not None:
            raise ValueError("give a catalogue or a shop, not both: a shop has its catalogue")
        if step_limit is not None and step_limit < 1:
            raise ValueError(f"step_limit must be at least 1 or None, not {step_limit!r}")
        if min(previous_observations, previous_actions) < 0:
            numbers = f"{previous_observations!r} and {previous_actions!r}"
            raise ValueError(f"previous_observations and previous_actions must be at least 0, not {numbers}")
        self.shop = shop
        self.observation_mode = observation_mode
        self.render_mode = render_mode
        self.observation_space = PageText(_MAX_OBSERVATION_LENGTH)
        self.action_space = PageText(MAX_ACTION_LENGTH)
        self._step_limit = shop.step_limit if step_limit is None else step_limit
        self._previous_observations = previous_observations
        self._previous_actions = previous_actions
        count = len(shop.goals)
        self._drawable = range(count) if split is None else split_indices(split, count)
        self._episode = Episode(shop, lenient=lenient_actions, goes_on=steps_after_end == "allow")
        self._history: tuple[Moment, ...] = ()

    def __copy__(self) -> WebShopEnv:
        made = object.__new__(type(self))
        made.__dict__ |= self.__dict__ | {"_episode": copy.copy(self._episode)}  # all else is replaced, never changed
        return made

    @property
    def goals(self) -> Sequence[Goal]:
        """What episodes can ask for; `options={"goal": i}` names the i-th."""
        return self.shop.goals.goals

    @property
    def prices(self) -> Mapping[str, float]:
        """Price in force of every product, in dollars, by asin."""
        return self.shop.goals.prices

    @property
    def state(self) -> ShopState:
        """Where the episode stands.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset or restore.
        """
        return self._begun().state

    @property
    def page(self) -> Page:
        """The page that is shown.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset or restore.
        """
        return self._begun().page

    def _begun(self) -> Episode:
        if not self._episode.begun:
            raise ResetNeeded("there is no episode yet: call reset() or restore() first")
        return self._episode

    @property
    def info(self) -> dict[str, Any]:
        """What reset and step return as info (without the reward's parts), for use after a restore."""
        return self._info(self.state, self.page)

    def _info(self, state: ShopState, page: Page) -> dict[str, Any]:
        return {
            "available_actions": page.available_actions,
            "url": url(state),
            "instruction_text": self._episode.instruction,
        }

    def search(self, query: str, k: int = RESULT_LIMIT) -> list[tuple[str, float]]:
        """Find products by words, outside the episode: up to k pairs of asin and BM25 score, best first."""
        return self.shop.search(query, k)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Open an episode.

        Args:
            seed: seed of this and the following draws of goals and random results.
            options: `{"goal": i}` names the goal; without it one is drawn by weight.

        Raises:
            GoalError: if there is no such goal.
            TypeError: if the goal is no integer.
            ValueError: if options has another key.
        """
        super().reset(seed=seed)
        options = options or {}
        for key in options:
            if key != "goal":
                near = difflib.get_close_matches(str(key), ["goal", "goals", "goal_index"], n=1)
                hint = "did you mean 'goal'?" if near else "the only one is 'goal'"
                raise ValueError(f"reset takes no option {key!r}; {hint}")
        episode_seed = int(self.np_random.integers(1 << 32))
        goal = goal_option(options.get("goal"))
        if goal is None:
            goal = draw_goal(self.shop.goals, random.Random(episode_seed), self._drawable)
        state = self.shop.start(goal, episode_seed)
        state = state._replace(step_limit=self._step_limit)
        self._history = ()
        page = self._episode.move(state)
        return self._observation(state, page), self._info(state, page)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset or restore, and after the episode's end unless
                `steps_after_end` is "allow".
            TypeError: if the action is no string.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is a string such as 'search[desk lamp]', not {action!r}")
        episode = self._begun()
        before = episode.state
        try:
            turn = episode.act(action)
        except EpisodeError as error:
            raise ResetNeeded(f"{error}; call reset(), or ask for steps_after_end='allow'") from None
        if kept := max(self._previous_observations, self._previous_actions):
            # Snapshots hold history, so what is kept is bounded and encodable.
            taken = turn.action[:MAX_ACTION_LENGTH].encode("utf-8", "replace").decode("utf-8")
            self._history = (*self._history, (before, taken))[-kept:]
        state, outcome, page = turn.state, turn.outcome, episode.page
        info = self._info(state, page)
        info["action_is_valid"] = outcome.valid
        if turn.error is not None:
            info["action_error"] = turn.error
        if turn.repairs:
            info["action_repairs"] = turn.repairs
        if outcome.parts is not None:
            info["reward_info"] = outcome.parts.as_info()
        return self._observation(state, page), outcome.reward, outcome.done, state.truncated, info

    def render(self) -> str | None:
        """Return the page as `text_rich` if the render mode is "ansi", else None."""
        return render_rich(self.page) if self.render_mode == "ansi" else None

    def snapshot(self) -> bytes:
        """Write the episode down: state, step count and history; not the generator that draws goals at reset."""
        return encode(self.shop, self.state, self._history)

    def restore(self, snapshot: bytes) -> str:
        """Go back to where a snapshot was taken, in this or any environment of the same catalogue and goals.

        Returns:
            The observation; `info` has the rest.

        Raises:
            SnapshotError: if the snapshot cannot be restored here; the environment stays as it was.
        """
        state, self._history = decode(self.shop, snapshot)
        return self._observation(state, self._episode.move(state))

    def _observe(self, state: ShopState, page: Page) -> str:
        return url(state) if self.observation_mode == "url" else RENDERERS[self.observation_mode](page)

    def _observation(self, state: ShopState, page: Page) -> str:
        """Return the page, after past observations and actions, oldest first."""
        current = self._observe(state, page)
        if not self._history:
            return current
        parts = []
        for age, (past, action) in zip(range(len(self._history), 0, -1), self._history, strict=True):
            if age <= self._previous_observations:
                parts.append(self._observe(past, self.shop.page(past)))
            if age <= self._previous_actions:
                parts.append(action)
        return SEPARATOR.join([*parts, current])


def goal_option(goal: object) -> int | None:
    """Return the goal that `options={"goal": ...}` of a reset names, or None where it names none.

    Raises:
        TypeError: it is something else than an integer; the message names the option and the value.
    """
    if goal is None:
        return None
    if isinstance(goal, SupportsIndex) and not isinstance(goal, bool):
        with suppress(TypeError):  # of an array with several elements
            return operator.index(goal)
    raise TypeError(f"option 'goal' is the index of a goal, an integer, not {goal!r:.80}")


def register() -> None:
    """Make `gymnasium.make("sightline/WebShop-v0")` work; calling it again does nothing."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            ENVIRONMENT_ID,
            entry_point="sightline.webshop_env.gym.env:WebShopEnv",
            vector_entry_point="sightline.webshop_env.gym.vector:WebShopVectorEnv",
        )


register()
