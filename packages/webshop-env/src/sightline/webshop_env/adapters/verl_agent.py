"""A batch of episodes with the reset, step, rewards and info keys that verl-agent's training loop reads.

Episodes are states over one shared shop, stepped in this process: no actors, no copies of the catalogue. Parsing a
model's answer into an action stays with verl-agent. `build_webshop_envs` stands in for its function of that name.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.goals.goals import build_goals, split_indices
from sightline.webshop_env.rules.render import render_text
from sightline.webshop_env.rules.shop import Shop

if TYPE_CHECKING:
    from sightline.webshop_env.product import Goal

WIN_REWARD: Final = 10.0

Info = dict[str, Any]
"""`available_actions` (`has_search_bar` and `clickables`), `won`, `task_score` (the shop's reward, from 0 to
1), `is_action_valid` and `action_is_valid` (whether the page offered the action; verl-agent overwrites the former by
whether it could read the answer), and where it did not `action_error`."""


class VerlAgentEnv:
    """Groups of episodes that share a goal, in step with each other.

    A purchase of reward 1 earns `WIN_REWARD`, everything else 0; the shop's own reward is `info["task_score"]`.
    Training draws its goals from `train_and_dev` (goals 500 and up), evaluation from `eval` (0 to 499).

    Args:
        shop: the shop; its `step_limit`, where it has one, ends episodes without a purchase.
        env_num: number of groups.
        group_n: episodes in each group.
        is_train: whether to draw training goals.
        seed: of the goals drawn.

    Raises:
        GoalError: the shop has too few goals for the split.
        ValueError: `env_num` or `group_n` is less than 1, or there are fewer goals than groups.
    """

    def __init__(self, shop: Shop, env_num: int = 1, group_n: int = 1, *, is_train: bool = True, seed: int = 0) -> None:
        if min(env_num, group_n) < 1:
            raise ValueError(f"env_num and group_n must be at least 1, not {env_num!r} and {group_n!r}")
        goals = split_indices("train_and_dev" if is_train else "eval", len(shop.goals))
        if len(goals) < env_num:
            raise ValueError(f"{env_num} groups need as many different goals; this split has {len(goals)}")
        self._shop = shop
        self._drawable = goals
        self._env_num = env_num
        self._group_n = group_n
        self._rng = random.Random(seed)
        self._episodes: list[Episode] = []

    @property
    def num_processes(self) -> int:
        """How many episodes run side by side."""
        return self._env_num * self._group_n

    def get_goals(self) -> Sequence[Goal]:
        """All goals of the shop."""
        return self._shop.goals.goals

    def reset(self) -> tuple[list[str], list[Info]]:
        """Open new episodes: a different goal for every group, the same within a group.

        Returns:
            Observations (mode `text`) and infos, group after group; `task_score` is 0 and the action counts as
            valid, since there is none yet.
        """
        goals = self._rng.sample(self._drawable, self._env_num)
        seeds = [self._rng.getrandbits(32) for _ in goals]
        self._episodes = []
        for goal, seed in zip(goals, seeds, strict=True):
            for _ in range(self._group_n):
                self._episodes.append(Episode(self._shop, goes_on=True))
                self._episodes[-1].begin(goal, seed)
        infos = [_info(episode, score=0.0, won=False, error=None) for episode in self._episodes]
        return self._observations(), infos

    def step(self, actions: Sequence[str]) -> tuple[list[str], list[float], list[bool], list[Info]]:
        """Take one action in every episode; episodes that are over go on if they are acted on.

        Args:
            actions: one per episode.

        Returns:
            Observations, rewards, whether each episode has ended (by this purchase, or by the step limit), and infos.

        Raises:
            ValueError: another number of actions than episodes, or none opened yet.
        """
        if len(actions) != len(self._episodes):
            raise ValueError(
                f"{len(self._episodes)} episodes are open, but {len(actions)} actions came; reset() opens them"
            )
        rewards, dones, infos = [], [], []
        for episode, action in zip(self._episodes, actions, strict=True):
            turn = episode.act(action)
            won = turn.outcome.done and turn.outcome.reward == 1.0
            rewards.append(WIN_REWARD if won else 0.0)
            dones.append(turn.ended)
            infos.append(_info(episode, score=turn.outcome.reward, won=won, error=turn.error))
        return self._observations(), rewards, dones, infos

    def render(self, mode: str = "text", env_idx: int | None = None) -> str | list[str]:
        """Return the page of one episode, or of all, as text whatever the mode."""
        observations = self._observations()
        return observations if env_idx is None else observations[env_idx]

    def close(self) -> None:
        """Forget the episodes."""
        self._episodes = []

    def _observations(self) -> list[str]:
        return [render_text(episode.page) for episode in self._episodes]


def _info(episode: Episode, *, score: float, won: bool, error: str | None) -> Info:
    return {
        "available_actions": episode.page.available_actions,
        "won": won,
        "task_score": score,
        "is_action_valid": error is None,
        "action_is_valid": error is None,
    } | ({} if error is None else {"action_error": error})


def build_webshop_envs(
    seed: int,
    env_num: int,
    group_n: int,
    resources_per_worker: object = None,
    is_train: bool = True,
    env_kwargs: Mapping[str, Any] | None = None,
) -> VerlAgentEnv:
    """Make the environments that verl-agent's `make_envs` asks for, with its signature.

    Args:
        seed: seed of the goals drawn.
        env_num: number of groups.
        group_n: episodes in each group.
        resources_per_worker: left alone, since there are no workers.
        is_train: whether to draw training goals.
        env_kwargs: `file_path` and `attr_path` (official files; without them products are generated), `num_products`,
            `human_goals` (generated ones by default) and `observation_mode`, which must be "text".

    Raises:
        TypeError: `env_kwargs` has another key; the message names it.
        ValueError: the observation mode is another one, or there are fewer goals than groups.
        CatalogueError: a data file is missing or malformed.
        GoalError: the shop has too few goals for the split.
    """
    settings = dict(env_kwargs or {})
    mode = settings.pop("observation_mode", "text")
    if mode != "text":
        raise ValueError(f"observation_mode must be 'text', as verl-agent's templates expect, not {mode!r}")
    return VerlAgentEnv(_shop(**settings), env_num, group_n, is_train=is_train, seed=seed)


@lru_cache(maxsize=4)
def _shop(
    file_path: str | None = None,
    attr_path: str | None = None,
    num_products: int | None = None,
    human_goals: bool = False,
) -> Shop:
    """Return the shop of these settings, which training and validation share."""
    if file_path is None:
        catalogue = Catalogue.generate() if num_products is None else Catalogue.generate(num_products)
    else:
        people = Path(file_path).with_name("items_human_ins.json")
        catalogue = Catalogue.from_official(file_path, attr_path, people if people.is_file() else None, num_products)
    return Shop(catalogue, build_goals(catalogue, "human" if human_goals else "synthetic", 42))
