"""Many episodes side by side in one shop, as a Gymnasium vector environment; in this process or spread over workers.

An episode is a small state, so hundreds of them share one catalogue, one index and one set of caches. What an episode
does is `WebShopEnv`'s business; this module only keeps the episodes in step.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sightline.webshop_env.episodes.snapshot import decode
from sightline.webshop_env.gym.env import WebShopEnv, goal_option
from sightline.webshop_env.gym.infos import join_infos
from sightline.webshop_env.gym.workers import Episodes, Here, Worker, WorkerError

if TYPE_CHECKING:
    import numpy.typing as npt

    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.gym.infos import Infos
    from sightline.webshop_env.gym.workers import Turns
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState

_OF_THE_SHOP: Final = ("goals", "seed", "show_attributes")


class WebShopVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], np.ndarray]):
    """`num_envs` episodes of one shop that are stepped together.

    Observations are tuples of strings, actions sequences of them; rewards are float64 [num_envs], terminations and
    truncations bool [num_envs]. Seeds, infos with their masks and the three ways of beginning the next episode are
    those of Gymnasium's `SyncVectorEnv`. Beyond it, `reset(options={"goal": [3, None, 8]})` names a goal for each
    episode, and `snapshot` and `restore` save and exchange them.

    Args:
        num_envs: how many episodes.
        catalogue: the products; 1,000 generated ones when None.
        shop: use this shop instead of making one; then catalogue stays None.
        autoreset_mode: begin the next episode at the step after the end (`NextStep`), at once (`SameStep`), or
            when `reset(options={"reset_mask": mask})` says so (`Disabled`).
        num_workers: spread the episodes over this many processes; 0 for none. Each has its own copy of a catalogue in
            memory, while stored catalogues share their pages. A script that asks for workers needs the usual
            `if __name__ == "__main__":`. The results are those without workers.
        **arguments: the further arguments of `WebShopEnv`, by name.
    """

    def __init__(
        self,
        num_envs: int,
        catalogue: Catalogue | None = None,
        *,
        shop: Shop | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        num_workers: int = 0,
        **arguments: Any,
    ) -> None:
        self._shares: list[Here | Worker] = []  # first, since even what is refused is closed when it is forgotten
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs!r}")
        if not 0 <= num_workers <= num_envs:
            raise ValueError(f"num_workers must be 0 to num_envs ({num_envs}), not {num_workers!r}")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        env = WebShopEnv(catalogue, shop=shop, **arguments)
        self.shop = env.shop
        self.num_envs = num_envs
        self.metadata = {**env.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = env.render_mode
        self.single_action_space, self.single_observation_space = env.action_space, env.observation_space
        self.action_space = batch_space(env.action_space, num_envs)
        self.observation_space = batch_space(env.observation_space, num_envs)
        self._observations: list[str | None] = [None] * num_envs
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        if num_workers == 0:
            self._shares.append(Here(slice(0, num_envs), Episodes(env, num_envs, same_step=same_step)))
            return
        own = {name: value for name, value in arguments.items() if name not in _OF_THE_SHOP}
        bounds = [num_envs * worker // num_workers for worker in range(num_workers + 1)]
        try:
            for start, stop in pairwise(bounds):
                self._shares.append(Worker(slice(start, stop), self.shop, own, same_step=same_step))
            self._collect()  # each worker reports when it is ready
        except BaseException:
            self.close()
            raise

    @property
    def states(self) -> tuple[ShopState, ...]:
        """Where each episode stands.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset or restore.
        """
        return tuple(self._each("states"))

    @property
    def infos(self) -> dict[str, Any]:
        """What reset would return as infos if the episodes began where they stand, for use after a restore."""
        return self._joined(self._call("infos"))

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Open episodes.

        Args:
            seed: `s` seeds the episodes with `s`, `s + 1`, ...; a sequence has one seed, or None, for each.
            options: `goal`: a goal for all episodes, or a sequence with one, or None, for each; `reset_mask`: bool
                [num_envs], which episodes to open while the others stay as they are.

        Returns:
            All observations, and the infos of the episodes that were opened.

        Raises:
            GoalError: there is no such goal; then no episode is opened.
            ValueError: a sequence or mask of another length, or an unknown option.
            TypeError: the mask is no bool array.
            gymnasium.error.ResetNeeded: an episode that never began is left out.
        """
        seeds = self._seeds(seed)
        options = dict(options or {})
        mask = _mask(options.pop("reset_mask", None), self.num_envs)
        goals = self._goals(options.pop("goal", None))
        if any(begun is None for begun, chosen in zip(self._observations, mask, strict=True) if not chosen):
            raise ResetNeeded("the first reset opens every episode: leave out reset_mask")
        each = [options if goal is None else options | {"goal": goal} for goal in goals]
        begun: list[tuple[list[str | None], Infos]] = self._call("reset", seeds, each, mask.tolist())
        self._ended[mask] = False
        for place, observation in enumerate(chain.from_iterable(observations for observations, _ in begun)):
            if observation is not None:
                self._observations[place] = observation
        return self._seen(), self._joined([infos for _, infos in begun])

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Take one action in every episode.

        Args:
            actions: one string for each; ignored where the mode `NextStep` opens the next episode instead.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or, in the mode `Disabled`, where an episode ended.
            TypeError: an action is no string; then nothing is stepped.
            ValueError: there are more or fewer actions than episodes.
            WorkerError: a worker died; then this vector environment is closed.
        """
        self._check(actions)
        renew = self._ended if self.autoreset_mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        turns: list[Turns] = self._call("step", list(actions), renew.tolist())
        self._observations = list(chain.from_iterable(turn.observations for turn in turns))
        rewards = np.concatenate([np.array(turn.rewards, np.float64) for turn in turns])
        terminations = np.concatenate([np.array(turn.terminations, np.bool_) for turn in turns])
        truncations = np.concatenate([np.array(turn.truncations, np.bool_) for turn in turns])
        self._ended = terminations | truncations
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            self._ended = np.zeros_like(self._ended)
        return self._seen(), rewards, terminations, truncations, self._joined([turn.infos for turn in turns])

    def snapshot(self) -> tuple[bytes, ...]:
        """Write every episode down, each as `snapshot` does.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset or restore.
        """
        return tuple(self._each("snapshot"))

    def restore(self, snapshots: Sequence[bytes | None]) -> tuple[str, ...]:
        """Go back to where snapshots were taken, in this or any environment of the same catalogue and goals.

        Args:
            snapshots: one for each episode; None leaves an episode as it is. One snapshot may stand in many places.

        Returns:
            All observations; `infos` has the rest.

        Raises:
            SnapshotError: a snapshot cannot be restored here; then every episode stays as it was.
            ValueError: there are more or fewer snapshots than episodes.
            gymnasium.error.ResetNeeded: an episode that never began is left out.
        """
        if len(snapshots) != self.num_envs:
            raise ValueError(f"expected a snapshot or None for each of the {self.num_envs} episodes")
        if any(old is None and new is None for old, new in zip(self._observations, snapshots, strict=True)):
            raise ResetNeeded("an episode that never began needs a snapshot")
        for snapshot in snapshots:
            if snapshot is not None:
                decode(self.shop, snapshot)  # raises before any episode is changed
        restored: list[tuple[str, bool] | None] = self._each("restore", list(snapshots))
        for place, result in enumerate(restored):
            if result is not None:
                self._observations[place], self._ended[place] = result
        return self._seen()

    def render(self) -> tuple[str, ...] | None:
        """Return the pages as `text_rich` if the render mode is "ansi", else None."""
        return None if self.render_mode is None else tuple(self._each("render"))

    def close_extras(self, **_: Any) -> None:
        """End the workers."""
        for share in self._shares:
            share.close()

    def _check(self, actions: Sequence[str]) -> None:
        """Refuse a step before any episode takes part in it."""
        if len(actions) != self.num_envs:
            raise ValueError(f"expected one action for each of the {self.num_envs} episodes, not {len(actions)}")
        for place, action in enumerate(actions):
            if not isinstance(action, str):
                raise TypeError(f"an action is a string such as 'search[desk lamp]', not {action!r} (at {place})")
        if None in self._observations:
            raise ResetNeeded("there are no episodes yet: call reset() or restore() first")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            ended = np.flatnonzero(self._ended)[:8].tolist()
            raise ResetNeeded(f"episodes {ended} have ended: reset them with options={{'reset_mask': mask}}")

    def _call(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Return what every share answers of its part; each argument has one value for each episode.

        Raises:
            Exception: what a share raised, after all have answered.
        """
        if self.closed:
            raise RuntimeError("this vector environment is closed")
        try:
            for share in self._shares:
                share.begin(method, *(argument[share.part] for argument in arguments))
            return self._collect()
        except WorkerError:
            self.close()
            raise

    def _collect(self) -> list[Any]:
        replies = [share.finish() for share in self._shares]
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _each(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Return what the shares answer where they have one answer for each episode."""
        return list(chain.from_iterable(self._call(method, *arguments)))

    def _joined(self, infos: Sequence[Infos]) -> Infos:
        counts = (share.part.stop - share.part.start for share in self._shares)
        return join_infos(list(zip(infos, counts, strict=True)))

    def _seen(self) -> tuple[str, ...]:
        return tuple(map(str, self._observations))

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if not isinstance(seed, Sequence):
            return [operator.index(seed) + place for place in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"expected one seed for each of the {self.num_envs} episodes, not {len(seed)}")
        return list(seed)

    def _goals(self, goal: Any) -> list[int | None]:
        goals = list(goal) if isinstance(goal, Sequence | np.ndarray) else [goal] * self.num_envs
        if len(goals) != self.num_envs:
            raise ValueError(f"expected one goal for each of the {self.num_envs} episodes, not {len(goals)}")
        goals = [goal_option(each) for each in goals]
        for each in goals:
            if each is not None:
                self.shop.start(each)  # raises before any episode is opened
        return goals


def _mask(mask: Any, count: int) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(count, dtype=np.bool_)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"reset_mask must be a NumPy array of bool, not {mask!r:.80}")
    if mask.shape != (count,) or not mask.any():
        raise ValueError(f"reset_mask must have shape ({count},) and a True in it, not {mask!r:.80}")
    return mask
