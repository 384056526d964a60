"""Shares of a vector environment's episodes: in this process, or in one of their own.

A share is told to begin something with its part of the episodes, and later asked for what came of it, so that shares in
other processes work at the same time. Each share batches its own infos; this module knows nothing else of batches,
seeds or autoreset modes as Gymnasium has them; `gym.vector` does.
"""

from __future__ import annotations

import copy
import gc
import multiprocessing
import signal
from dataclasses import dataclass
from functools import partial
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.gym.env import WebShopEnv
from sightline.webshop_env.gym.infos import Infos, batch_infos

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState


@dataclass(frozen=True, slots=True)
class Turns:
    """What came of one step of n episodes, batched where they were stepped, since that is work to be shared too."""

    observations: list[str]
    """N strings; where an episode ended and the next was opened at once, those of the next."""
    rewards: list[float]
    """N of them, as are the ends."""
    terminations: list[bool]
    truncations: list[bool]
    infos: Infos
    """Batched; what an episode ended with lies under `final_obs` and `final_info` where the next was opened at once."""


_JOIN_SECONDS: Final = 5.0


class WorkerError(RuntimeError):
    """A process that held episodes is lost, and they with it."""


class Episodes:
    """Episodes in this process: copies of one environment, which share all that no episode changes.

    Args:
        env: the environment, without an episode.
        count: how many episodes.
        same_step: open the next episode in the step that ends one.
    """

    def __init__(self, env: WebShopEnv, count: int, *, same_step: bool) -> None:
        self._envs = [copy.copy(env) for _ in range(count)]
        self._same_step = same_step

    def reset(
        self, seeds: list[int | None], options: list[dict[str, Any]], mask: list[bool]
    ) -> tuple[list[str | None], Infos]:
        """Open those episodes whose mask is True: their observations, None for the others, and their infos."""
        each = zip(self._envs, seeds, options, mask, strict=True)
        begun = [env.reset(seed=seed, options=own) if chosen else (None, None) for env, seed, own, chosen in each]
        return [observation for observation, _ in begun], batch_infos([info for _, info in begun])

    def step(self, actions: list[str], renew: list[bool]) -> Turns:
        """Take one action in every episode, or open the next one where `renew` is True."""
        turns = [self._turn(*each) for each in zip(self._envs, actions, renew, strict=True)]
        observations, rewards, terminations, truncations, infos = (list(column) for column in zip(*turns, strict=True))
        return Turns(observations, rewards, terminations, truncations, batch_infos(infos))

    def _turn(self, env: WebShopEnv, action: str, renew: bool) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if renew:
            observation, info = env.reset()
            return observation, 0.0, False, False, info
        observation, reward, terminated, truncated, info = env.step(action)
        if self._same_step and (terminated or truncated):
            final = {"final_obs": observation, "final_info": info}
            observation, begun = env.reset()
            info = final | begun
        return observation, reward, terminated, truncated, info

    def restore(self, snapshots: list[bytes | None]) -> list[tuple[str, bool] | None]:
        """Return the restored observations, each with whether its episode is over; None where there is no snapshot."""
        return [
            None if snapshot is None else (env.restore(snapshot), env.state.done or env.state.truncated)
            for env, snapshot in zip(self._envs, snapshots, strict=True)
        ]

    def snapshot(self) -> list[bytes]:
        """Every episode's snapshot."""
        return [env.snapshot() for env in self._envs]

    def states(self) -> list[ShopState]:
        """Every episode's state."""
        return [env.state for env in self._envs]

    def infos(self) -> Infos:
        """Return the episodes' infos."""
        return batch_infos([env.info for env in self._envs])

    def render(self) -> list[str | None]:
        """Every episode's rendering."""
        return [env.render() for env in self._envs]


class Here:
    """A share of the episodes that is stepped in this process.

    Attributes:
        part: which of the vector environment's episodes.
    """

    def __init__(self, part: slice, episodes: Episodes) -> None:
        self.part = part
        self._episodes = episodes
        self._reply: Any = None

    def begin(self, method: str, *arguments: Any) -> None:
        """Call a method of `Episodes`."""
        self._reply = getattr(self._episodes, method)(*arguments)

    def finish(self) -> Any:
        """Return what the method returned."""
        return self._reply

    def close(self) -> None:
        """Nothing is held open."""


class Worker:
    """A share of the episodes that is stepped in another process; its first reply says that it is ready.

    Attributes:
        part: which of the vector environment's episodes.

    Args:
        part: which episodes.
        shop: sent over whole, but for what lies in files.
        arguments: further ones of the environment.
        same_step: open the next episode in the step that ends one.
    """

    def __init__(self, part: slice, shop: Shop, arguments: dict[str, Any], *, same_step: bool) -> None:
        self.part = part
        # Started afresh, since the fork of a process with threads (NumPy's, PyTorch's) may hang.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        make = partial(_open_episodes, shop, arguments, part.stop - part.start, same_step)
        self._process = context.Process(target=_work, args=(theirs, make), daemon=True)
        self._waiting = True
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def begin(self, method: str, *arguments: Any) -> None:
        """Tell the worker to call a method of `Episodes`.

        Raises:
            WorkerError: it died, or an earlier call was broken off before its reply.
        """
        if self._waiting:
            raise WorkerError("an earlier call was interrupted, which left the episodes out of step; begin anew")
        self._waiting = True
        try:
            self._connection.send((method, arguments))
        except OSError:
            raise self._death() from None

    def finish(self) -> Any:
        """Wait for what the method returned or raised.

        Raises:
            WorkerError: the worker died.
        """
        try:
            reply = self._connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        self._waiting = False
        return reply

    def close(self) -> None:
        """End the process."""
        self._connection.close()  # which ends the worker's loop
        self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> WorkerError:
        self._process.join(_JOIN_SECONDS)
        return WorkerError(
            f"the worker with episodes {self.part.start} to {self.part.stop - 1} died (exit code "
            f"{self._process.exitcode}), and its episodes with it; make the vector environment anew. If it died at the "
            "start of a script, guard the script's own start with: if __name__ == '__main__':"
        )


def _open_episodes(shop: Shop, arguments: dict[str, Any], count: int, same_step: bool) -> Episodes:
    return Episodes(WebShopEnv(shop=shop, **arguments), count, same_step=same_step)


def _work(connection: Connection, make: partial[Episodes]) -> None:
    """Return a worker's life: make the episodes, then do as told until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end takes this process along
    try:
        episodes = make()
    except Exception as error:
        _answer(connection, error)
        return
    try:
        gc.freeze()  # the catalogue stays: collections that look through it again would hold up every worker
        _answer(connection, None)
        while True:
            method, arguments = connection.recv()
            try:
                reply = getattr(episodes, method)(*arguments)
            except Exception as error:
                reply = error
            _answer(connection, reply)
    except (EOFError, OSError):
        return


def _answer(connection: Connection, reply: Any) -> None:
    try:
        connection.send(reply)
    except (PicklingError, TypeError, AttributeError):
        connection.send(RuntimeError(f"a worker has an answer that cannot be sent: {reply!r:.500}"))
