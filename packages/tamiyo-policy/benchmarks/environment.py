"""Steps per second of the growth environment, with all counterfactuals, against the target of 300 at 12 environments.

Three loads: `typical` (half of the environments empty, the others with one or two blended seeds), `random` (an episode
of random legal actions) and `full` (three blended seeds everywhere). Prints the median and the range over repetitions,
and what one step spends on training, on validation and on the rest.

    python benchmarks/environment.py --workers 2 --threads 1
    python benchmarks/environment.py --torch --threads 2
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.action_space import waiting
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.heuristic import random_legal_actions
from sightline.tamiyo_policy.growth.records import GrowthObservation
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import LifecycleConfig
from sightline.tamiyo_policy.hosts.digits import digits_data
from sightline.tamiyo_policy.hosts.operations import Op

TARGET = 300.0
FAMILIES = "ABCDE"
WARM_UP = 24
MODULES = token_blueprints()
Policy = Callable[[GrowthObservation], Tensor]


def growing_policy(environment: GrowthEnvironment, seeds: list[int]) -> Policy:
    """Germinate the wanted number of seeds in each environment as early as the rules permit, then wait."""
    names = environment.action_space.names
    kinds = sorted(MODULES)

    def act(observation: GrowthObservation) -> Tensor:
        actions = waiting(environment.num_envs, environment.action_space)
        legal = observation.masks["slot_by_op"][:, Op.GERMINATE]
        for row, count in enumerate(seeds):
            occupied = int(environment.slots.occupied[row].sum())
            if occupied < count and bool(legal[row].any()):
                actions[row, names.index("op")] = int(Op.GERMINATE)
                actions[row, names.index("slot")] = int(legal[row].int().argmax())
                actions[row, names.index("blueprint")] = kinds[(row + occupied) % len(kinds)]
                actions[row, names.index("tempo")] = 0
        return actions

    return act


def random_policy(environment: GrowthEnvironment) -> Policy:
    generator = torch.Generator().manual_seed(0)

    def act(observation: GrowthObservation) -> Tensor:
        return random_legal_actions(observation.masks, environment.action_space, generator)

    return act


def build(num_envs: int, config: GrowthConfig, workers: int, *, compiled: bool) -> GrowthEnvironment:
    """Return an environment whose networks are compiled, or left to torch because its modules are not known ones."""
    modules = MODULES if compiled else {at: replace(of, residual=partial(of.residual)) for at, of in MODULES.items()}
    return GrowthEnvironment(digits_data(), num_envs, config=config, blueprints=modules, workers=workers)


def measure(
    load: str, num_envs: int, repetitions: int, workers: int, *, compiled: bool = True
) -> tuple[list[float], float]:
    """Return environment steps per second of each repetition, and the mean number of blended seeds per environment."""
    lifecycle = LifecycleConfig(auto_forward=frozenset({"G1", "G2", "G3"}))
    config = GrowthConfig() if load == "random" else GrowthConfig(lifecycle=lifecycle)
    environment = build(num_envs, config, workers, compiled=compiled)
    seeds = {"typical": [0, 1, 0, 2], "full": [3], "random": [0]}[load]
    rates, blended = [], 0.0
    for repetition in range(repetitions):
        families = [FAMILIES[(repetition + row) % len(FAMILIES)] for row in range(num_envs)]
        seen = environment.reset(range(repetition * num_envs, (repetition + 1) * num_envs), families)
        act = (
            random_policy(environment)
            if load == "random"
            else growing_policy(environment, [seeds[row % len(seeds)] for row in range(num_envs)])
        )
        warm_up = 0 if load == "random" else WARM_UP
        for _ in range(warm_up):
            seen = environment.step(act(seen)).observation
        start = time.perf_counter()
        timed = config.training.steps - warm_up
        for _ in range(timed):
            seen = environment.step(act(seen)).observation
        rates.append(num_envs * timed / (time.perf_counter() - start))
        blended = float((environment.slots.alpha > 0).float().sum(1).mean())
    return rates, blended


def shares(num_envs: int, workers: int, *, compiled: bool) -> dict[str, float]:
    """Return seconds per step of the parts of a typical step."""
    lifecycle = LifecycleConfig(auto_forward=frozenset({"G1", "G2", "G3"}))
    config = GrowthConfig(lifecycle=lifecycle)
    environment = build(num_envs, config, workers, compiled=compiled)
    seen = environment.reset(range(num_envs), [FAMILIES[row % len(FAMILIES)] for row in range(num_envs)])
    act = growing_policy(environment, [[0, 1, 0, 2][row % 4] for row in range(num_envs)])
    for _ in range(WARM_UP):
        seen = environment.step(act(seen)).observation
    spent = {"training": 0.0, "validation": 0.0}
    training = environment._training

    def timed(name: str, function: Callable) -> Callable:
        def run(*arguments, **options):
            start = time.perf_counter()
            result = function(*arguments, **options)
            spent[name] += time.perf_counter() - start
            return result

        return run

    training.interval = timed("training", training.interval)  # measured in place
    training.measure = timed("validation", training.measure)  # measured in place
    steps = environment.config.training.steps - WARM_UP
    start = time.perf_counter()
    for _ in range(steps):
        seen = environment.step(act(seen)).observation
    total = time.perf_counter() - start
    return {name: value / steps for name, value in spent.items()} | {"rest": (total - sum(spent.values())) / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of each torch operation")
    parser.add_argument("--workers", type=int, default=1, help="threads that share compiled networks")
    parser.add_argument("--torch", action="store_true", help="networks that are not compiled")
    parser.add_argument("--envs", type=int, default=12, help="environments in the stack")
    parser.add_argument("--repetitions", type=int, default=5, help="episodes per load")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    how = "torch" if arguments.torch else f"compiled, {arguments.workers} workers"
    print(f"{arguments.envs} environments, {how}; {arguments.threads} threads for torch operations")
    for load in ("typical", "random", "full"):
        rates, blended = measure(
            load, arguments.envs, arguments.repetitions, arguments.workers, compiled=not arguments.torch
        )
        verdict = f", target {TARGET:.0f}: {'met' if statistics.median(rates) >= TARGET else 'MISSED'}"
        print(
            f"{load:8s} median {statistics.median(rates):6.1f} env steps/s  "
            f"({min(rates):.1f} to {max(rates):.1f}; {blended:.2f} blended seeds per environment at the end)"
            f"{verdict if load == 'typical' else ''}"
        )
    spent = shares(arguments.envs, arguments.workers, compiled=not arguments.torch)
    print(
        "ms per typical step:",
        {name: round(1000 * value, 1) for name, value in spent.items()},
    )


if __name__ == "__main__":
    main()
