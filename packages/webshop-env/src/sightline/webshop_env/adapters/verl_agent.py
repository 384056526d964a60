"""A batch of episodes with the reset, step, rewards and info keys that verl-agent's training loop reads.

Episodes are states over one shared shop, stepped in this process: no actors, no copies of the catalogue. Parsing a
model's answer into an action stays with verl-agent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.goals.goals import split_indices
from sightline.webshop_env.rules.render import render_text

if TYPE_CHECKING:
    from sightline.webshop_env.product import Goal
    from sightline.webshop_env.rules.shop import Shop

WIN_REWARD: Final = 10.0

Info = dict[str, Any]
"""`available_actions` (`has_search_bar` and `clickables`), `won`, `task_score` (the shop's reward, from 0 to
1) and `is_action_valid` (whether the page offered the action)."""


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
        infos = [_info(episode, score=0.0, won=False, valid=True) for episode in self._episodes]
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
            infos.append(_info(episode, score=turn.outcome.reward, won=won, valid=turn.outcome.valid))
        return self._observations(), rewards, dones, infos

    def close(self) -> None:
        """Forget the episodes."""
        self._episodes = []

    def _observations(self) -> list[str]:
        return [render_text(episode.page) for episode in self._episodes]


def _info(episode: Episode, *, score: float, won: bool, valid: bool) -> Info:
    return {
        "available_actions": episode.page.available_actions,
        "won": won,
        "task_score": score,
        "is_action_valid": valid,
    }
