"""The recurrent PPO here beside that of sb3-contrib on POPGym: returns at equal steps, and steps per CPU second.

    uv run --package sightline-tamiyo-policy --group benchmark packages/tamiyo-policy/benchmarks/popgym_returns.py

Six environments of the Easy set and cart-pole without velocities (POPGym's PositionOnlyCartPole). Both players have 8
environments, rollouts of 64 steps, 4 epochs of 4 minibatches of whole rows, a shared LSTM of 64 units that reads
observations as they are, the hidden layers of `versus_sb3_contrib.py`, and the same learning rate, discount, entropy
bonus and longest gradient; nothing is tuned for either. Observations that are a `Tuple`
or `MultiDiscrete`, which sb3-contrib fails with, are flattened for it.

A return is the mean of the last 100 episodes in training. Intervals resample training seeds, which is all that differs
between runs. CPU seconds are those of the process in `learn`, environments included. The output gets a line when a run
is done, and runs that it holds are not repeated; the players take turns, so that other work disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import gymnasium
import numpy as np
import popgym.envs  # noqa: F401 - registers its environments
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib import RecurrentPPO as ContribRecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sightline.agents.evaluation import bootstrap_interval, show_interval
from sightline.tamiyo_policy import RecurrentPPO

NAMES = (
    "RepeatFirst",
    "RepeatPrevious",
    "Autoencode",
    "CountRecall",
    "HigherLower",
    "MultiarmedBandit",
    "PositionOnlyCartPole",
)
ENVIRONMENTS, ROLLOUT, WIDTH, EPOCHS, MINIBATCHES, RATE, LAST = 8, 64, 64, 4, 4, 3e-3, 100


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        player: whose learner.
        name: environment.
        seed: seed of everything.
        steps: environment steps.
        final: mean return of the last 100 episodes.
        cpu_seconds: time of the process in `learn`.
    """

    player: str
    name: str
    seed: int
    steps: int
    final: float
    cpu_seconds: float


def make(name: str, *, flat: bool = False) -> gymnasium.Env:
    environment = gymnasium.make(f"popgym-{name}Easy-v0", disable_env_checker=True)
    nested = isinstance(environment.observation_space, gymnasium.spaces.Tuple | gymnasium.spaces.MultiDiscrete)
    return gymnasium.wrappers.FlattenObservation(environment) if flat and nested else environment


def play_ours(name: str, seed: int, steps: int) -> tuple[float, float]:
    environment = SyncVectorEnv([lambda: make(name)] * ENVIRONMENTS, autoreset_mode=AutoresetMode.SAME_STEP)
    trainer = RecurrentPPO(
        environment,
        seed=seed,
        num_steps=ROLLOUT,
        hidden_dim=WIDTH,
        entrance=False,
        learning_rate=RATE,
        epochs=EPOCHS,
        minibatches=MINIBATCHES,
        max_gradient_norm=0.5,
    )
    finished: deque[float] = deque(maxlen=LAST)

    def note(metrics: dict[str, float]) -> None:
        # A round reports the mean of its episodes; all that is asked of the list is a mean, too.
        finished.extend([metrics.get("episode_return", 0.0)] * int(metrics["episodes"]))

    started = time.process_time()
    trainer.learn(steps, on_round=note)
    return fmean(finished), time.process_time() - started


class Finished(BaseCallback):
    """Keeps the returns of the last episodes."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: deque[float] = deque(maxlen=LAST)

    def _on_step(self) -> bool:
        self.returns.extend(info["episode"]["r"] for info in self.locals["infos"] if "episode" in info)
        return True


def play_contrib(name: str, seed: int, steps: int) -> tuple[float, float]:
    environment = make_vec_env(lambda: make(name, flat=True), n_envs=ENVIRONMENTS)
    trainer = ContribRecurrentPPO(
        "MlpLstmPolicy",
        environment,
        learning_rate=RATE,
        n_steps=ROLLOUT,
        batch_size=ENVIRONMENTS * ROLLOUT // MINIBATCHES,
        n_epochs=EPOCHS,
        ent_coef=0.01,
        policy_kwargs={
            "lstm_hidden_size": WIDTH,
            "shared_lstm": True,
            "enable_critic_lstm": False,
            "net_arch": {"pi": [WIDTH // 2], "vf": [WIDTH // 2] * 3},
        },
        seed=seed,
        device="cpu",
    )
    finished = Finished()
    started = time.process_time()
    trainer.learn(steps, callback=finished)
    return fmean(finished.returns), time.process_time() - started


PLAYERS: dict[str, Callable[[str, int, int], tuple[float, float]]] = {
    "sightline": play_ours,
    "sb3-contrib": play_contrib,
}


def runs(names: list[str], seeds: int, steps: int, output: Path) -> list[Run]:
    """Return all runs, those made now that the file does not hold."""
    lines = output.read_text().splitlines() if output.exists() else []
    known = {(run.player, run.name, run.seed, run.steps): run for run in (Run(**json.loads(line)) for line in lines)}
    for seed in range(seeds):
        for name in names:
            for player, play in PLAYERS.items():
                if (player, name, seed, steps) in known:
                    continue
                made = Run(player, name, seed, steps, *play(name, seed, steps))
                known[player, name, seed, steps] = made
                with output.open("a") as file:
                    file.write(json.dumps(asdict(made)) + "\n")
                print(made, flush=True)
    return [known[player, name, seed, steps] for name in names for player in PLAYERS for seed in range(seeds)]


def table(found: list[Run]) -> str:
    """Return a row for each environment, as a Markdown table, and the median ratio of speeds."""
    rows, ratios = (
        [
            "| environment | here | sb3-contrib | difference | steps per CPU second | ratio |",
            "|---|---|---|---|---|---|",
        ],
        [],
    )
    for name in dict.fromkeys(run.name for run in found):
        finals = {
            player: [run.final for run in found if (run.name, run.player) == (name, player)] for player in PLAYERS
        }
        speeds = [
            median(run.steps / run.cpu_seconds for run in found if (run.name, run.player) == (name, player))
            for player in PLAYERS
        ]
        ours, theirs = finals.values()
        shown = "one seed"
        if len(ours) > 1:
            difference = bootstrap_interval(np.subtract(ours, theirs), np.random.default_rng(0), unit="training seeds")
            shown = show_interval(difference, "+.3f")
        ratios.append(speeds[0] / speeds[1])
        rows.append(
            f"| {name} | {fmean(ours):+.3f} | {fmean(theirs):+.3f} | {shown} | {speeds[0]:,.0f} and {speeds[1]:,.0f} | "
            f"{ratios[-1]:.1f} |"
        )
    return "\n".join([*rows, "", f"median ratio {median(ratios):.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=NAMES, help="environments")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each player in each environment")
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps of a run")
    parser.add_argument("--output", type=Path, default=Path("popgym.jsonl"), help="where runs are written and read")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(table(runs(arguments.names, arguments.seeds, arguments.steps, arguments.output)))


if __name__ == "__main__":
    main()
