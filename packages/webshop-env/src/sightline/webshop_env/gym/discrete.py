"""The shop with numbered actions and numeric observations, for learners that know nothing of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict, Discrete

from sightline.webshop_env.episodes.request_words import content_words, proposed_searches
from sightline.webshop_env.episodes.shoppers import listed_hits
from sightline.webshop_env.gym.env import WebShopEnv
from sightline.webshop_env.rules.pages import BUY, Page, Role
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind

Features = npt.NDArray[np.float32]

FEATURES: Final = (
    "offered", "search", "product", "option", "buy", "back", "sub_page",
    "mentioned", "covers", "chosen", "affordable", "rank",
)  # fmt: skip
"""What is said of each action, all from 0 to 1: its kind; the share of its words that the instruction holds, and of the
instruction's words that it holds; whether it was chosen or visited; whether the price is within the limit; 1 for the
first of its kind, falling to 0."""


class DiscreteActions(gymnasium.Wrapper[Features, int, str, str]):
    """Number a page's actions, so that learners with `Discrete` actions and masks can shop.

    Action `i` is the i-th entry of `info["candidates"]`: the searches that the instruction proposes where the page has
    a search bar, then what can be clicked, in page order. `info["action_mask"]` and `action_masks()` (the name that
    Stable-Baselines3's MaskablePPO calls) say which numbers stand for an action. An illegal number changes nothing but
    the step count, as any invalid action.

    The observation is float32 [max_actions, len(FEATURES)], what `FEATURES` says of each action, zeros where there is
    none. It is made of the page and the instruction alone.

    Args:
        env: environment to wrap, a `WebShopEnv` or one in wrappers that keep its actions, such as `ShapedRewards`.
        max_actions: number of actions; what a page offers beyond it is left out, `Buy Now` never.

    Raises:
        TypeError: there is no `WebShopEnv` inside.
        ValueError: there are too few actions.
    """

    def __init__(self, env: gymnasium.Env[str, str], max_actions: int = 64) -> None:
        if max_actions < 8:
            raise ValueError(f"max_actions must be at least 8, not {max_actions!r}")
        if not isinstance(env.unwrapped, WebShopEnv):
            raise TypeError(f"only actions of a WebShopEnv can be numbered, not those of {env!r:.80}")
        super().__init__(env)  # ty: ignore[invalid-argument-type]  # it mistakes the wrapper's types for the environment's
        self._text_env = env
        self._shop_env = env.unwrapped
        self.max_actions = max_actions
        self.action_space = Discrete(max_actions)  # ty: ignore[invalid-assignment]  # NumPy's integers are as good
        self.observation_space = Box(0.0, 1.0, (max_actions, len(FEATURES)), np.float32)
        self._candidates: tuple[str, ...] = ()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Open an episode; arguments as those of `WebShopEnv.reset`."""
        _, info = self._text_env.reset(seed=seed, options=options)
        return self._observe(info)

    def step(self, action: int) -> tuple[Features, float, bool, bool, dict[str, Any]]:
        """Take the action of a number."""
        number = int(action)
        text = self._candidates[number] if 0 <= number < len(self._candidates) else f"action {number}"
        _, reward, terminated, truncated, info = self._text_env.step(text)
        observation, info = self._observe(info)
        return observation, float(reward), terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return which numbers stand for an action, bool [max_actions]."""
        return np.arange(self.max_actions) < len(self._candidates)

    def _observe(self, info: dict[str, Any]) -> tuple[Features, dict[str, Any]]:
        page, instruction = self._shop_env.page, info["instruction_text"]
        self._candidates = candidates(page, instruction, self.max_actions)
        info["candidates"] = self._candidates
        info["action_mask"] = self.action_masks()
        observation = np.zeros((self.max_actions, len(FEATURES)), np.float32)
        if self._candidates:
            observation[: len(self._candidates)] = action_features(page, instruction, self._candidates)
        return observation, info


class MaskedObservations(gymnasium.Wrapper[dict[str, Features], int, Features, int]):
    """Put the mask beside the observation, as RLlib's masking modules read it.

    Observations are dictionaries of `observations`, float32 [max_actions * len(FEATURES)], and `action_mask`, float32
    [max_actions], 1 for the numbers that stand for an action.

    Args:
        env: environment with numbered actions.
    """

    def __init__(self, env: DiscreteActions) -> None:
        super().__init__(env)  # ty: ignore[invalid-argument-type]  # it mistakes the wrapper's types for the environment's
        self._numbered = env
        self.observation_space = Dict(  # ty: ignore[invalid-assignment]  # a space of dictionaries of arrays
            {
                "observations": Box(0.0, 1.0, (env.max_actions * len(FEATURES),), np.float32),
                "action_mask": Box(0.0, 1.0, (env.max_actions,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Features], dict[str, Any]]:
        """Open an episode; arguments as those of `WebShopEnv.reset`."""
        observation, info = self._numbered.reset(seed=seed, options=options)
        return self._masked(observation), info

    def step(self, action: int) -> tuple[dict[str, Features], float, bool, bool, dict[str, Any]]:
        """Take the action of a number."""
        observation, reward, terminated, truncated, info = self._numbered.step(action)
        return self._masked(observation), reward, terminated, truncated, info

    def _masked(self, observation: Features) -> dict[str, Features]:
        mask = self._numbered.action_masks().astype(np.float32)
        return {"observations": observation.reshape(-1), "action_mask": mask}


def candidates(page: Page, instruction: str, most: int) -> tuple[str, ...]:
    """Return the actions that a page offers, spelt as `Shop.act` takes them, `Buy Now` among the first `most`."""
    buy = BUY.lower()
    searches = [f"search[{query}]" for query in proposed_searches(instruction) or ("product",)]
    labels = [label for label in page.targets if not (page.kind is PageKind.INDEX and label == "search")]
    if buy in labels:
        labels = [buy, *(label for label in labels if label != buy)]
    clicks = [f"click[{label}]" for label in labels]
    return tuple(((searches if page.kind is PageKind.INDEX else []) + clicks)[:most])


def action_features(page: Page, instruction: str, actions: Sequence[str]) -> Features:
    """Return what `FEATURES` says of each action, float32 [len(actions), len(FEATURES)]."""
    wanted = set(content_words(instruction))
    hits = {hit.asin.lower(): hit for hit in listed_hits(instruction, page)}
    chosen = {element.label for element in page.elements if element.marked}
    counts: dict[str, int] = {}
    rows = np.zeros((len(actions), len(FEATURES)), np.float32)
    for row, action in zip(rows, actions, strict=True):
        name, _, rest = action.partition("[")
        label = rest.removesuffix("]")
        kind = "search" if name == "search" else _kind(page, label)
        hit = hits.get(label) if name == "click" else None
        own = set(content_words(label if hit is None else hit.title))
        rank = counts[kind] = counts.get(kind, -1) + 1
        row[0] = 1.0
        row[FEATURES.index(kind)] = 1.0
        row[7] = len(own & wanted) / len(own) if own else 0.0
        row[8] = len(own & wanted) / len(wanted) if wanted else 0.0
        row[9] = label in chosen
        row[10] = hit is None or hit.affordable
        row[11] = 1 / (1 + rank)
    return rows


def _kind(page: Page, label: str) -> str:
    if label == BUY.lower():
        return "buy"
    if label in {sub.lower() for sub in SUB_PAGES}:
        return "sub_page"
    target = page.targets[label]
    if target.role is Role.OPTION:
        return "option"
    return "product" if target.role is Role.LINK else "back"
