"""Playing with a trained policy: an object that remembers for each environment, and evaluation over whole episodes.

Knows nothing about learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from sightline.tamiyo_policy.ppo.inputs import InputReader
from sightline.tamiyo_policy.ppo.stepping import EpisodeStepper, Taken
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of N whole episodes."""

    returns: NDArray[np.float64]
    """[N], undiscounted sums of rewards."""
    lengths: NDArray[np.int64]
    """[N], steps."""

    @property
    def mean_return(self) -> float:
        """Mean of `returns`."""
        return float(self.returns.mean())


class Player:
    """A policy that plays in environments of its own and keeps its memory right, whatever their automatic resets.

    Nothing is handed to and fro between steps, so nothing can be handed over wrongly: `step` acts, steps the
    environments, and forgets where an episode begins.

    Args:
        policy: what acts.
        environment: E environments; they are reset.
        reader: what turns observations into the policy's inputs.
        deterministic: the most probable choice of every head; else one drawn at random.
        seed: seed of the environments and of the draws; None for any.
    """

    def __init__(
        self,
        policy: TrainedPolicy,
        environment: VectorEnv,
        reader: InputReader,
        *,
        deterministic: bool = True,
        seed: int | None = None,
    ) -> None:
        self._policy = policy
        self._deterministic = deterministic
        self._generator = torch.Generator(policy.device)
        self._generator.manual_seed(torch.seed() if seed is None else seed)
        self._stepper = EpisodeStepper(environment, reader, policy.device)
        self._stepper.begin(seed)
        self._hidden = policy.network.initial_hidden(environment.num_envs)
        self._ages = np.zeros(environment.num_envs, np.int64)

    def step(self) -> Taken:
        """Act once in every environment.

        Raises:
            ValueError: an observation is not finite; the message names the environment and the step of its episode.
        """
        seen, starts = self._stepper.seen, torch.from_numpy(self._stepper.starts).to(self._policy.device)
        finite = seen.states.isfinite().all(1)
        if not bool(finite.all()):
            environment = int((~finite).nonzero()[0])
            raise ValueError(
                f"the observation of environment {environment} is not finite at step {self._ages[environment]} of its "
                "episode"
            )
        with torch.inference_mode():
            output = self._policy.act(
                seen,
                self._hidden,
                episode_starts=starts,
                deterministic=self._deterministic,
                generator=self._generator,
                with_value=False,
            )
            taken = self._stepper.take(output.actions)
        self._hidden = output.hidden
        self._ages = np.where(taken.ended | ~taken.counted, 0, self._ages + 1)
        return taken

    def steps(self, count: int) -> Iterator[Taken]:
        """Yield so many steps."""
        for _ in range(count):
            yield self.step()

    def episodes(self, count: int) -> Evaluation:
        """Play whole episodes from here on, as many in each environment as in the others, give or take one.

        The first episodes to end would be the short ones; therefore each environment has a number of its own.

        Args:
            count: number of episodes of all environments together, at least 1; they begin at the next start of each.
        """
        environments = len(self._ages)
        wanted = np.full(environments, count // environments)
        wanted[: count % environments] += 1
        done = np.zeros_like(wanted)
        # What is under way counts only if it is seen from its first step.
        whole = self._stepper.starts.copy()
        returns, lengths = np.zeros(environments), np.zeros(environments, np.int64)
        found: list[tuple[float, int]] = []
        while (done < wanted).any():
            taken = self.step()
            returns += np.where(taken.counted, taken.rewards, 0.0)
            lengths += taken.counted
            for index in np.flatnonzero(taken.ended):
                if whole[index] and done[index] < wanted[index]:
                    found.append((float(returns[index]), int(lengths[index])))
                    done[index] += 1
                whole[index] = True
                returns[index], lengths[index] = 0.0, 0
        return Evaluation(np.array([each for each, _ in found]), np.array([each for _, each in found]))
