"""The recurrent PPO here beside that of sb3-contrib: steps per second, and how soon it learns.

    uv run packages/tamiyo-policy/benchmarks/versus_sb3_contrib.py speed
    uv run packages/tamiyo-policy/benchmarks/versus_sb3_contrib.py learning --output learning.jsonl

Both play the same RepeatPrevious environments (delay 4, 4 symbols, 48 steps; or those of `--task`), as many at a time,
with as many steps in a rollout, as many epochs, minibatches of as many sequences, the same discount, and an LSTM of 64
units that reads observations as they are and is shared by actor and critic.

`speed` runs them in turn, so that other work on the machine disturbs both alike, and prints the median of the repeats,
also per second of processor time. Behind the LSTM both have the same hidden layers: 32 units for the actor, three times
32 for the critic.

`learning` first tries the same learning rates for both on seeds of their own, and then runs the best of each on fresh
seeds: interquartile means with 95% intervals of a bootstrap over seeds. What is compared is the mean return of all
episodes of a run, the area under the learning curve. There sb3-contrib has its own default of two hidden layers of 64
units for the actor and two for the critic. The output gets a line when a run is done, and runs that it holds already
are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO as ContribRecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import MaskedCartPole, MemoryTask, RepeatPrevious

RATES = (3e-3, 5e-3, 1e-2, 2e-2)
TUNING_SEEDS = (1000, 1001)
WIDTH, EPOCHS, MINIBATCHES = 64, 4, 4
SAME_LAYERS = {"pi": [WIDTH // 2], "vf": [WIDTH // 2] * 3}
"""The hidden layers that `FactoredRecurrentActorCritic` has behind an LSTM of this width."""


@dataclass(frozen=True)
class Shape:
    """How a task is played.

    Attributes:
        task: makes environments.
        environments: how many at a time.
        steps: of each in a rollout.
        gamma: discount of both players.
        same_layers: whether sb3-contrib has hidden layers as wide as those here, and not its own.
    """

    task: Callable[[int], MemoryTask]
    environments: int
    steps: int
    gamma: float
    same_layers: bool = True


SHAPES = {"repeat": Shape(RepeatPrevious, 16, 48, 0.99), "cart-pole": Shape(MaskedCartPole, 8, 128, 0.99)}


class _ContribEnvironment(VecEnv):
    """A memory task in the form that sb3-contrib takes."""

    def __init__(self, task: MemoryTask) -> None:
        super().__init__(task.num_envs, task.single_observation_space, task.single_action_space)
        self._task = task
        self._seed = 0
        self._actions = np.zeros(task.num_envs, np.int64)
        self._returns = np.zeros(task.num_envs)
        self.finished: list[float] = []

    def reset(self) -> np.ndarray:
        return self._task.reset(seed=self._seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, terminated, truncated, information = self._task.step(self._actions)
        ended = terminated | truncated
        self._returns += rewards
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended):
            infos[index] = {
                "terminal_observation": information["final_obs"][index],
                "TimeLimit.truncated": bool(truncated[index]),
            }
            self.finished.append(float(self._returns[index]))
        self._returns[ended] = 0.0
        return observations, rewards, ended, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        self._seed = seed or 0
        return [seed] * self.num_envs

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


Note = Callable[[int, list[float]], None]
"""Called after each rollout with the steps taken so far and the returns of all episodes finished so far."""


class Notes(BaseCallback):
    """Hands the state of a run to a function after each rollout."""

    def __init__(self, environment: _ContribEnvironment, note: Note) -> None:
        super().__init__()
        self._environment, self._note = environment, note

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._note(self.num_timesteps, self._environment.finished)


def play_ours(shape: Shape, rate: float, seed: int, note: Note) -> Callable[[int], None]:
    ppo = PPOConfig(
        learning_rate=rate,
        gamma=shape.gamma,
        epochs=EPOCHS,
        minibatches=MINIBATCHES,
        max_gradient_norm=0.5,  # as sb3-contrib has it
    )
    config = RecurrentPPOConfig(ppo=ppo, num_steps=shape.steps, hidden_dim=WIDTH, entrance=False)
    trainer = RecurrentPPO(shape.task(shape.environments), config, seed=seed)
    finished: list[float] = []

    def on_round(metrics: dict[str, float]) -> None:
        # A round reports the mean of its episodes; all that is asked of the list later are means, too.
        if "episode_return" in metrics:
            finished.extend([metrics["episode_return"]] * int(metrics["episodes"]))
        note(int(metrics["steps"]), finished)

    def learn(steps: int) -> None:
        trainer.learn(steps, on_round=on_round)

    return learn


def play_contrib(shape: Shape, rate: float, seed: int, note: Note) -> Callable[[int], None]:
    environment = _ContribEnvironment(shape.task(shape.environments))
    layers = {"net_arch": SAME_LAYERS} if shape.same_layers else {}
    trainer = ContribRecurrentPPO(
        "MlpLstmPolicy",
        environment,
        learning_rate=rate,
        n_steps=shape.steps,
        batch_size=shape.environments * shape.steps // MINIBATCHES,
        n_epochs=EPOCHS,
        gamma=shape.gamma,
        gae_lambda=0.95,
        ent_coef=0.01,
        policy_kwargs={"lstm_hidden_size": WIDTH, "shared_lstm": True, "enable_critic_lstm": False, **layers},
        seed=seed,
        device="cpu",
    )

    def learn(steps: int) -> None:
        trainer.learn(steps, callback=Notes(environment, note), reset_num_timesteps=False)

    return learn


PLAYERS = {"sightline": play_ours, "sb3-contrib": play_contrib}


def ignore(steps: int, finished: list[float]) -> None:
    """Do nothing."""


def speed(shape: Shape, threads: int, repeats: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return median steps per second of wall time and of processor time, by player."""
    torch.set_num_threads(threads)
    steps = shape.environments * shape.steps
    learners = {name: play(shape, 1e-3, 0, ignore) for name, play in PLAYERS.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in learners}
    for learn in learners.values():
        learn(steps)
    for _ in range(repeats):
        for name, learn in learners.items():
            wall, processor = time.perf_counter(), time.process_time()
            learn(rounds * steps)
            taken = rounds * steps
            rates[name].append((taken / (time.perf_counter() - wall), taken / (time.process_time() - processor)))
    return {name: (median(a for a, _ in pairs), median(b for _, b in pairs)) for name, pairs in rates.items()}


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        player: whose.
        settings: task, discount and steps, as JSON.
        rate: learning rate.
        seed: of everything.
        area: mean return of all episodes.
        final: mean return of the last 100 episodes.
        reached: steps until such a mean reached the threshold, or None.
    """

    player: str
    settings: str
    rate: float
    seed: int
    area: float
    final: float
    reached: int | None


@dataclass(frozen=True)
class Comparison:
    """What is asked: the task, how it is played, for how many steps, and the return to reach."""

    task: str
    shape: Shape
    steps: int
    threshold: float

    @property
    def settings(self) -> str:
        """All of it, as JSON."""
        return json.dumps(
            {"task": self.task, "gamma": self.shape.gamma, "steps": self.steps, "threshold": self.threshold}
        )


def learning_run(player: str, asked: Comparison, rate: float, seed: int) -> Run:
    reached: int | None = None
    returns: list[float] = []

    def note(taken: int, finished: list[float]) -> None:
        nonlocal reached, returns
        returns = finished
        if reached is None and len(finished) >= 100 and fmean(finished[-100:]) >= asked.threshold:
            reached = taken

    PLAYERS[player](asked.shape, rate, seed, note)(asked.steps)
    return Run(player, asked.settings, rate, seed, fmean(returns), fmean(returns[-100:]), reached)


def interquartile_mean(values: np.ndarray) -> float:
    """Return the mean of the middle half, whose ends count in part where the number is no multiple of four."""
    ordered = np.sort(values)
    trimmed = len(ordered) / 4
    weights = np.clip(np.minimum(np.arange(1, len(ordered) + 1), np.arange(len(ordered), 0, -1)) - trimmed, 0, 1)
    return float((ordered * weights).sum() / weights.sum())


def resampled(values: Sequence[float], resamples: int = 10_000) -> np.ndarray:
    """Return interquartile means of a bootstrap over seeds, [resamples]; the same seeds are drawn in every call."""
    array, generator = np.asarray(values, float), np.random.default_rng(0)
    return np.array([interquartile_mean(generator.choice(array, len(array))) for _ in range(resamples)])


def interval(values: Sequence[float]) -> str:
    """Return an interquartile mean and its 95% percentile interval."""
    low, high = np.quantile(resampled(values), [0.025, 0.975])
    return f"{interquartile_mean(np.asarray(values, float)):+.3f} [{low:+.3f}, {high:+.3f}]"


class Runs:
    """Runs that were made, kept in a file if there is one, so that none is made twice."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = [Run(**json.loads(line)) for line in lines]

    def get(self, player: str, asked: Comparison, rate: float, seed: int) -> Run:
        """Return the run, made now if it is not known."""
        for known in self._known:
            if (known.player, known.settings, known.rate, known.seed) == (player, asked.settings, rate, seed):
                return known
        made = learning_run(player, asked, rate, seed)
        self._known.append(made)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(made)) + "\n")
        print(f"{player:12} rate {rate:g} seed {seed}: area {made.area:+.3f}, at the end {made.final:+.3f}", flush=True)
        return made


def compare_learning(asked: Comparison, seeds: int, runs: Runs) -> None:
    areas = {}
    for player in PLAYERS:
        scores = {rate: fmean(runs.get(player, asked, rate, seed).area for seed in TUNING_SEEDS) for rate in RATES}
        best = max(scores, key=lambda rate: scores[rate])
        print(f"{player:12} on tuning seeds: {', '.join(f'{rate:g}: {area:+.3f}' for rate, area in scores.items())}")
        fresh = [runs.get(player, asked, best, seed) for seed in range(seeds)]
        areas[player] = [each.area for each in fresh]
        # Seeds that never got there count with all their steps, which favours the player that has more of them.
        reached = interval([(each.reached or asked.steps) / 1000 for each in fresh])
        print(
            f"{player:12} rate {best:g}, {seeds} seeds: area {interval(areas[player])}; "
            f"last 100 episodes {interval([each.final for each in fresh])}; "
            f"thousand steps to {asked.threshold:+g}: {reached}, "
            f"{sum(each.reached is not None for each in fresh)} of {seeds} got there",
            flush=True,
        )
    ours, theirs = areas["sightline"], areas["sb3-contrib"]
    low, high = np.quantile(resampled(ours) - resampled(theirs), [0.025, 0.975])
    difference = interquartile_mean(np.array(ours)) - interquartile_mean(np.array(theirs))
    print(f"difference of areas, paired by seed: {difference:+.3f} [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "learning"])
    parser.add_argument("--task", choices=sorted(SHAPES), default="repeat", help="what is played")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="speed: threads of torch")
    parser.add_argument("--gamma", type=float, help="discount of both; the task's own if not given")
    parser.add_argument("--repeats", type=int, default=5, help="speed: of which the median is taken")
    parser.add_argument("--rounds", type=int, default=10, help="speed: rollouts with updates in a repeat")
    parser.add_argument("--seeds", type=int, default=5, help="learning: fresh seeds of each player")
    parser.add_argument("--steps", type=int, default=100_000, help="learning: environment steps of a run")
    parser.add_argument("--threshold", type=float, default=0.5, help="learning: the return to reach")
    parser.add_argument("--output", type=Path, help="learning: where to write the runs, a JSON object in each line")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.task]
    if arguments.gamma is not None:
        shape = replace(shape, gamma=arguments.gamma)
    if arguments.what == "speed":
        for threads in arguments.threads:
            rates = speed(shape, threads, arguments.repeats, arguments.rounds)
            (ours, ours_cpu), (theirs, theirs_cpu) = rates["sightline"], rates["sb3-contrib"]
            print(
                f"{threads} threads: sightline {ours:.0f} steps/s, sb3-contrib {theirs:.0f}: {ours / theirs:.2f} x; "
                f"per second of processor time {ours_cpu:.0f} and {theirs_cpu:.0f}: {ours_cpu / theirs_cpu:.2f} x",
                flush=True,
            )
        return
    torch.set_num_threads(1)
    asked = Comparison(arguments.task, replace(shape, same_layers=False), arguments.steps, arguments.threshold)
    compare_learning(asked, arguments.seeds, Runs(arguments.output))


if __name__ == "__main__":
    main()
