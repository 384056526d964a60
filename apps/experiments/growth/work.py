"""What worker processes do in the growth experiment: train policies, play episodes, train fixed topologies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from experiments.growth.settings import GrowthSettings
from lab.jobs import Job
from lab.run import slug
from sightline.retrieval.jsonl import DurableLines
from sightline.tamiyo_policy import GrowthEnvironment, GrowthTrainingConfig, load_trained_policy, train_policy
from sightline.tamiyo_policy.experiment import (
    EVALUATION_SEED,
    METRICS,
    Episode,
    GrowthRecord,
    Method,
    episodes_from,
    fixed_schedule,
    greedy_counterfactual,
    heuristic,
    learned,
    no_growth,
    play_episodes,
    random_legal,
    schedule_of,
    scheduled,
    topology_record,
)
from sightline.tamiyo_policy.growth import Topology, TopologyRun, train_topologies
from sightline.tamiyo_policy.hosts import ClassificationData, TokenHost, digits_data, token_blueprints

CHANNELS = 8
"""Width of the hosts that are grown."""

LEARNED, MEMORYLESS, JOINT = "learned", "memoryless", "joint ratio"
LEARNED_MODE = "learned, most probable action"
NO_GROWTH, RANDOM, HEURISTIC, SCHEDULE, GREEDY, FIFTEEN = (
    "no growth",
    "random legal",
    "heuristic",
    "fixed schedule",
    "greedy counterfactual",
    "the rule of fifteen lines",
)


def training_config(training: GrowthTrainingConfig, variant: str) -> GrowthTrainingConfig:
    """Return the learner of a variant: all are the same but for what their name says."""
    policy = training.policy
    if variant == MEMORYLESS:
        policy = policy.model_copy(update={"recurrent": False})
    elif variant == JOINT:
        policy = policy.model_copy(update={"ppo": policy.ppo.model_copy(update={"ratio": "joint"})})
    return training.model_copy(update={"policy": policy})


def evaluation(settings: GrowthSettings, count: int | None = None) -> tuple[Episode, ...]:
    """Return the first `count` evaluation episodes; all of them by default."""
    number = settings.evaluation_episodes if count is None else count
    return episodes_from(EVALUATION_SEED, number, settings.training.families)


def train(settings: GrowthSettings, variant: str, seed: int, folder: Path) -> None:
    """Train one policy."""
    environment = GrowthEnvironment(_data(), settings.environments, config=settings.growth)
    train_policy(environment, training_config(settings.training, variant), folder, seed=seed)


def training_job(settings: GrowthSettings, variant: str, seed: int, folder: Path) -> Job:
    """Return the job of `train` in a folder of its own."""
    return Job(folder / METRICS, settings.training.rounds, train, (settings, variant, seed, folder))


def play_policy(
    settings: GrowthSettings, variant: str, seed: int, policies: Path, count: int, deterministic: bool, file: Path
) -> None:
    """Play evaluation episodes with a trained policy."""
    trained_in = GrowthEnvironment(_data(), settings.environments, config=settings.growth)
    policy = load_trained_policy(
        policies / policy_folder(variant, seed), trained_in, training_config(settings.training, variant)
    )
    method = learned(policy, deterministic=deterministic, seed=settings.seed)
    _play(settings, method, evaluation(settings, count), file)


def play_rule(settings: GrowthSettings, name: str, topology: Topology, file: Path) -> None:
    """Play all evaluation episodes with a method that is not trained."""
    space = GrowthEnvironment(_data(), 1, config=settings.growth).action_space
    lifecycle = settings.growth.lifecycle
    methods = {
        NO_GROWTH: no_growth(space),
        RANDOM: random_legal(space, seed=settings.seed),
        HEURISTIC: heuristic(space, settings.heuristic, lifecycle),
        SCHEDULE: fixed_schedule(space, lifecycle, topology, plateau_epochs=settings.plateau_epochs),
        GREEDY: greedy_counterfactual(space, lifecycle, settings.heuristic.rotation, keep_above=settings.greedy_above),
        FIFTEEN: scheduled(space, [schedule_of(topology)]),
    }
    _play(settings, methods[name], evaluation(settings), file, counterfactuals=name in (HEURISTIC, GREEDY))


def train_fixed(
    settings: GrowthSettings, runs: Sequence[TopologyRun], steps: int, channels: int, read_test: bool, file: Path
) -> None:
    """Train hosts with fixed topologies; wider ones than usual are charged for their width by the reader."""
    data = _data()
    stack = settings.stack
    lines = DurableLines(file)
    done = _keep_whole_stacks(lines, stack, len(runs))
    for results in train_topologies(
        runs[done:],
        data,
        token_host(channels),
        token_blueprints(channels, data.tokens),
        channels=channels,
        training=settings.growth.training.model_copy(update={"steps": steps}),
        reward=settings.growth.reward,
        reference_parameters=settings.growth.reference_parameters,
        stack=stack,
        read_test=read_test,
    ):
        _append(lines, [topology_record(result) for result in results])


def fixed_job(
    settings: GrowthSettings,
    runs: Sequence[TopologyRun],
    file: Path,
    *,
    steps: int | None = None,
    channels: int = CHANNELS,
    read_test: bool = False,
) -> Job:
    """Return the job of `train_fixed`; episodes have full length by default."""
    length = settings.growth.training.steps if steps is None else steps
    return Job(file, len(runs), train_fixed, (settings, tuple(runs), length, channels, read_test, file))


def policy_folder(variant: str, seed: int) -> str:
    """Return the name of a training's folder."""
    return f"{slug(variant)}-seed{seed}"


def token_host(channels: int) -> TokenHost:
    """Return the experiment's host, as wide as asked for."""
    data = _data()
    return TokenHost(data.channels, data.tokens, data.num_classes, channels)


def host_parameters(channels: int) -> int:
    """Return the number of parameters of a host of a family without token mixer."""
    host = token_host(channels)
    return sum(host.stage_sizes) - host.num_slots * host.tokens**2


def _play(
    settings: GrowthSettings, method: Method, episodes: Sequence[Episode], file: Path, *, counterfactuals: bool = True
) -> None:
    lines = DurableLines(file)
    done = _keep_whole_stacks(lines, settings.stack, len(episodes))
    size = min(settings.stack, len(episodes))
    environment = GrowthEnvironment(_data(), size, config=settings.growth, counterfactuals=counterfactuals)
    for records in play_episodes(environment, episodes[done:], method, read_test=True):
        _append(lines, records)


def _keep_whole_stacks(lines: DurableLines, stack: int, total: int) -> int:
    """Cut a file back to the stacks that were written to their end, and return how many records are left."""
    complete = lines.cut()
    return complete if complete == total else lines.cut(complete // stack * stack)


def _append(lines: DurableLines, records: Sequence[GrowthRecord]) -> None:
    lines.append(*(record.model_dump_json().encode() for record in records))


@cache
def _data() -> ClassificationData:
    return digits_data()
