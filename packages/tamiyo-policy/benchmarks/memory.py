"""Does the recurrent policy remember? Anchors on small tasks, each against its control, over several seeds.

    uv run packages/tamiyo-policy/benchmarks/memory.py --seeds 5 --workers 2 --output memory.jsonl

The output gets a line when a run is done. Runs that it holds already, with the same settings, are not repeated, so a
benchmark that was stopped goes on where it was; delete the file to measure anew.

Anchors and what they ask for (means over seeds of the last 100 episodes):

    repeat      RepeatPrevious, delay 4, 4 symbols, 48 steps: at least +0.5 by 250,000 steps; a memoryless one <= -0.4
    cart-pole   without velocities: at 100,000 steps at least twice the return of the same network without memory
    t-maze      corridor of 10: at least 0.95 within 60 s of training on one thread
    cue         a cue names operation, slot and blueprint for 10 steps later: at least 0.95 by 150,000 steps, and sooner
                with causal masks (heads that an operation does not use get no credit) than without them

Seconds are of wall time, so a busy machine makes t-maze look worse than it is; all else does not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import torch
from scipy import stats

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth, MaskedCartPole, MemoryTask, RepeatPrevious, TMaze


class UncausalCue(CuedGrowth):
    """The same task for a policy whose heads all get credit for every step: the control of causal masks."""

    @property
    def factored_action_space(self) -> FactoredActionSpace:
        """Heads that all matter to every operation."""
        space = super().factored_action_space
        return replace(space, relevance=torch.ones_like(space.relevance))


@dataclass(frozen=True)
class Contender:
    """One policy on one task.

    Attributes:
        anchor: which question it belongs to.
        name: the policy's.
        task: makes the environments.
        config: settings.
        steps: environment steps of training.
        threshold: a return; the first step count at which the last 100 episodes reach it is reported.
    """

    anchor: str
    name: str
    task: Callable[[], MemoryTask]
    config: RecurrentPPOConfig
    steps: int
    threshold: float


@dataclass(frozen=True)
class Run:
    """What one seed of a contender gave.

    Attributes:
        final: mean return of the last 100 episodes.
        reached: steps until the last 100 episodes averaged the threshold, or None.
        seconds_to_reach: wall time until then, or None.
        seconds: wall time of all training.
        settings: the contender's steps and configuration, as JSON.
    """

    anchor: str
    name: str
    seed: int
    settings: str
    final: float
    reached: int | None
    seconds_to_reach: float | None
    seconds: float


def last_hundred(history: list[dict[str, float]]) -> float | None:
    """Return the mean return of the last rounds that hold 100 episodes; None before there are 100."""
    episodes, total = 0.0, 0.0
    for metrics in reversed(history):
        if "episode_return" in metrics:
            episodes += metrics["episodes"]
            total += metrics["episodes"] * metrics["episode_return"]
        if episodes >= 100:
            return total / episodes
    return None


def settings_of(contender: Contender) -> str:
    return f'{{"steps": {contender.steps}, "policy": {contender.config.model_dump_json()}}}'


def run(contender: Contender, seed: int) -> Run:
    torch.set_num_threads(1)
    trainer = RecurrentPPO(contender.task(), contender.config, seed=seed)
    history: list[dict[str, float]] = []
    reached: tuple[int, float] | None = None
    started = time.perf_counter()

    def note(metrics: dict[str, float]) -> None:
        nonlocal reached
        history.append(metrics)
        mean = last_hundred(history[-200:])
        if reached is None and mean is not None and mean >= contender.threshold:
            reached = int(metrics["steps"]), time.perf_counter() - started

    trainer.learn(contender.steps, on_round=note)
    final = last_hundred(history)
    return Run(
        anchor=contender.anchor,
        name=contender.name,
        seed=seed,
        settings=settings_of(contender),
        final=float("nan") if final is None else final,
        reached=None if reached is None else reached[0],
        seconds_to_reach=None if reached is None else reached[1],
        seconds=time.perf_counter() - started,
    )


def repeat_task() -> MemoryTask:
    return RepeatPrevious(16)


def cart_pole_task() -> MemoryTask:
    return MaskedCartPole(8)


def maze_task() -> MemoryTask:
    return TMaze(16, length=10)


def cue_task() -> MemoryTask:
    return CuedGrowth(128)


def uncausal_cue_task() -> MemoryTask:
    return UncausalCue(128)


# An answer changes nothing but its own reward: a short horizon keeps the luck of later answers out of its advantage.
REPEAT = RecurrentPPOConfig(ppo=PPOConfig(gamma=0.5, gae_lambda=0.9), num_steps=48)
CART_POLE = RecurrentPPOConfig(ppo=PPOConfig(gae_lambda=0.98), num_steps=128)
MAZE = RecurrentPPOConfig(ppo=PPOConfig(), num_steps=64)
# Some cues are answered wrongly by chance for so long that a policy that explores less never finds their answers; and
# only one step of an episode can be learned from, so that gradients are noisy and late steps have to be small.
CUE_STEPS = 150_000
CUE = RecurrentPPOConfig(
    ppo=PPOConfig(entropy_coefficient=0.05, max_gradient_norm=0.5), num_steps=11, learning_rate_steps=CUE_STEPS
)


def without_memory(config: RecurrentPPOConfig) -> RecurrentPPOConfig:
    return config.model_copy(update={"recurrent": False})


CONTENDERS = (
    Contender("repeat", "LSTM", repeat_task, REPEAT, 250_000, 0.5),
    Contender("repeat", "memoryless", repeat_task, without_memory(REPEAT), 250_000, 0.5),
    Contender("cart-pole", "LSTM", cart_pole_task, CART_POLE, 100_000, 195.0),
    Contender("cart-pole", "memoryless", cart_pole_task, without_memory(CART_POLE), 100_000, 195.0),
    Contender("t-maze", "LSTM", maze_task, MAZE, 100_000, 0.95),
    Contender("t-maze", "memoryless", maze_task, without_memory(MAZE), 100_000, 0.95),
    Contender("cue", "causal masks", cue_task, CUE, CUE_STEPS, 0.95),
    Contender("cue", "no causal masks", uncausal_cue_task, CUE, CUE_STEPS, 0.95),
)


def key(done: Run) -> tuple[str, str, int, str]:
    """Return what tells a run from all others."""
    return done.anchor, done.name, done.seed, done.settings


def read_runs(path: Path) -> list[Run]:
    """Return the runs in a file of earlier ones; none if there is no such file."""
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines() if line.endswith("}")]


def interval(values: Sequence[float]) -> str:
    """Return a mean and its 95% interval (Student's t), to whole numbers."""
    low, high = stats.t.interval(0.95, len(values) - 1, fmean(values), stats.sem(values))
    return f"{fmean(values):,.0f} [{low:,.0f}, {high:,.0f}]"


def verdicts(runs: list[Run]) -> list[str]:
    """Return one line per anchor that was run with all its contenders."""

    def of(anchor: str, name: str) -> list[Run]:
        return [each for each in runs if (each.anchor, each.name) == (anchor, name)]

    def mean(anchor: str, name: str) -> float:
        return fmean(each.final for each in of(anchor, name))

    def steps(name: str) -> list[int]:
        # A seed that never got there counts as having got there when it stopped, which favours the slower one.
        return [each.reached or CUE_STEPS for each in sorted(of("cue", name), key=lambda each: each.seed)]

    lines = []
    anchors = {each.anchor for each in runs}
    if "repeat" in anchors:
        lstm, control = mean("repeat", "LSTM"), mean("repeat", "memoryless")
        lines.append(f"repeat: {lstm:+.3f} >= +0.5 and {control:+.3f} <= -0.4: {lstm >= 0.5 and control <= -0.4}")
    if "cart-pole" in anchors:
        lstm, control = mean("cart-pole", "LSTM"), mean("cart-pole", "memoryless")
        lines.append(f"cart-pole: {lstm:.0f} >= 2 x {control:.0f}: {lstm >= 2 * control}")
    if "t-maze" in anchors:
        slowest = max(each.seconds_to_reach or float("inf") for each in of("t-maze", "LSTM"))
        lines.append(f"t-maze: 0.95 reached by every seed within {slowest:.0f} s, at most 60: {slowest <= 60}")
    if "cue" in anchors:
        causal, without = steps("causal masks"), steps("no causal masks")
        worst, average = min(each.final for each in of("cue", "causal masks")), mean("cue", "causal masks")
        lines.append(f"cue: mean {average:.3f}, worst seed {worst:.3f} >= 0.95: {worst >= 0.95}")
        lines.append(
            f"cue: steps to 0.95 with causal masks {interval(causal)}, without {interval(without)}, more without on "
            f"the same seed {interval([b - a for a, b in zip(causal, without, strict=True)])}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted({contender.anchor for contender in CONTENDERS})
    parser.add_argument("--anchors", nargs="+", choices=names, default=names, help="which to run")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this - 1")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--output", type=Path, help="where to write all runs, a JSON object in each line")
    arguments = parser.parse_args()
    known = {key(each): each for each in (read_runs(arguments.output) if arguments.output else [])}
    jobs = [(each, seed) for each in CONTENDERS if each.anchor in arguments.anchors for seed in range(arguments.seeds)]
    todo = [(each, seed) for each, seed in jobs if (each.anchor, each.name, seed, settings_of(each)) not in known]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, *job) for job in todo]):
            done = future.result()
            known[key(done)] = done
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write(json.dumps(asdict(done)) + "\n")
            print(
                f"{done.anchor:10} {done.name:16} seed {done.seed}  return {done.final:8.3f}  "
                f"threshold reached at {done.reached}  {done.seconds:6.1f} s",
                flush=True,
            )
    runs = [known[each.anchor, each.name, seed, settings_of(each)] for each, seed in jobs]
    print("\n".join(verdicts(runs)))


if __name__ == "__main__":
    main()
