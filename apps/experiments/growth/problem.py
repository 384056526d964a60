"""The settings of a growth problem whose right answer differs from host to host, and its instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from lab.settings import WorkerSettings
from sightline.tamiyo_policy import GrowthConfig, GrowthTrainingConfig
from sightline.tamiyo_policy.experiment import Episode
from sightline.tamiyo_policy.growth import GovernorConfig, RewardConfig
from sightline.tamiyo_policy.hosts import HostTrainingConfig, InstanceDistribution, LifecycleConfig

if TYPE_CHECKING:
    from sightline.tamiyo_policy.hosts import ClassificationData

_SHAPE = 6  # after the streams that an instance's other draws come from

DataSet = Literal["digits", "wine", "breast_cancer"]


class HeadroomSettings(WorkerSettings):
    """Measure how much can be gained by deciding, host by host, what to grow."""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "growth": {
            "training": {"steps": 12, "minibatches": 1, "batch_size": 16, "instances": {"severed": [1, 2]}},
            "lifecycle": {"mask_closed_gates": True, "auto_forward": ["G1", "G2", "G3"], "min_training_epochs": 1},
        },
        "environments": 4,
        "training": {
            "rounds": 1,
            "copies": 2,
            "policy": {"num_steps": 12, "hidden_dim": 16, "ppo": {"minibatches": 2}},
        },
        "training_seeds": (0, 1),
        "control_seeds": (0,),
        "leave_out_seeds": (0,),
        "narrowest": 4,
        "widest": 5,
        "instances": 4,
        "search_steps": 4 * 12 * 18,
        "probe_steps": 4 * 12 * 12,
        "screening_steps": 2,
        "finalists": 1,
        "modules": 1,
    }
    FULL: ClassVar[Mapping[str, Any]] = {
        "training_seeds": tuple(range(10)),
        "control_seeds": tuple(range(10)),
        "leave_out_seeds": (0, 1, 2),
    }
    growth: GrowthConfig = GrowthConfig(
        training=HostTrainingConfig(
            instances=InstanceDistribution(
                shallowest=1,
                log_gain=(-0.5, 0.2),
                severed=(2, 2),
                drift=0.3,
                label_noise=(0.0, 0.2),
                log_train_share=(-0.5, 0.0),
                log_budget=(0.0, 0.7),
            )
        ),
        lifecycle=LifecycleConfig(mask_closed_gates=True, auto_forward=frozenset({"G1", "G2", "G3"})),
        reward=RewardConfig(gamma=0.995),
        governor=GovernorConfig(penalty=-2.0),
    )
    """The rules of growing, and what differs between instances. In a YAML file, give its parts in full."""
    data_sets: tuple[DataSet, ...] = Field(default=("digits", "digits", "wine", "breast_cancer"), min_length=1)
    """Data sets that hosts learn, each as often as it is named."""
    families: tuple[Literal["A", "B", "C", "E"], ...] = Field(default=("A", "C", "E", "E"), min_length=1)
    """Families of the hosts that are drawn, each as often as it is named."""
    narrowest: int = Field(default=4, ge=2)
    """Least width of a host."""
    widest: int = Field(default=8, ge=2)
    """Greatest width of a host."""

    instances: int = Field(default=50, ge=2)
    """Instances on which everything is compared, and for each of which the oracle searches."""
    search_steps: int = Field(default=42_000, ge=1)
    """Environment steps of the search for a schedule, as many as a training has."""
    probe_steps: int = Field(default=42_000, ge=1)
    """Environment steps of the search for a probing rule; 1 takes a plain one without a search."""
    screening_steps: int = Field(default=12, ge=1)
    """Length of the episodes in which the oracle tries every topology on an instance."""
    modules: int = Field(default=2, ge=1)
    """Most modules in a topology that the oracle tries."""
    finalists: int = Field(default=4, ge=1)
    """Topologies that the oracle tries again as schedules, in episodes of full length."""
    stack: int = Field(default=120, ge=1)
    """Episodes played at once."""

    full: bool = False
    """Ten training seeds, two controls, and policies that never saw one family or one data set."""
    environments: int = Field(default=25, ge=1)
    """Hosts that grow side by side in training; with `training.copies` of each, five instances."""
    training: GrowthTrainingConfig = GrowthTrainingConfig(
        families=("A", "C", "E", "E"),
        policy=GrowthTrainingConfig().policy.model_copy(update={"condition_sub_heads": True}),
    )
    """The learner; its families are those of the problem. In a YAML file, give its parts in full."""
    training_seeds: tuple[int, ...] = (0, 1, 2)
    """One policy is trained, and evaluated on all instances, for each; none, to measure headroom alone."""
    control_seeds: tuple[int, ...] = ()
    """Training seeds of two controls: the learner without memory, and with one ratio for a whole action."""
    leave_out_seeds: tuple[int, ...] = ()
    """Training seeds of policies that never saw one family or one data set, each judged on what it never saw."""

    def identity(self) -> dict[str, Any]:
        """Return what a run is known by."""
        identity = super().identity()
        identity["growth"]["lifecycle"]["auto_forward"].sort()  # a set, whose order differs between processes
        return identity

    @model_validator(mode="after")
    def _ranges_are_possible(self) -> Self:
        if self.narrowest > self.widest:
            raise ValueError(f"narrowest is {self.narrowest}, which is more than widest, {self.widest}")
        if self.training.policy.num_steps != self.growth.training.steps:
            raise ValueError("training.policy.num_steps must be growth.training.steps: a rollout is one episode")
        if self.environments % self.training.copies:
            raise ValueError(f"environments must be a multiple of training.copies, which is {self.training.copies}")
        if self.screening_steps > self.growth.training.steps:
            raise ValueError(f"screening_steps must be at most {self.growth.training.steps}, the length of an episode")
        return self


@dataclass(frozen=True, order=True)
class Shape:
    """What hosts must have in common to stand in one stack."""

    data: DataSet
    """Data set."""
    channels: int
    """Width of the hosts."""


@dataclass(frozen=True)
class Problem:
    """One instance to grow in."""

    shape: Shape
    """Data set and width."""
    episode: Episode
    """Family and seed, from which all else is drawn."""


def problems_from(settings: HeadroomSettings, first_seed: int, count: int) -> list[Problem]:
    """Return instances with consecutive seeds, each a function of its seed.

    Args:
        settings: the distribution.
        first_seed: `EVALUATION_SEED`, `SELECTION_SEED`, or one beyond.
        count: number of instances.
    """
    return [problem_of(settings, seed) for seed in range(first_seed, first_seed + count)]


def problem_of(settings: HeadroomSettings, seed: int) -> Problem:
    """Return the instance of a seed."""
    generator = np.random.default_rng([seed, _SHAPE])
    data = settings.data_sets[generator.integers(len(settings.data_sets))]
    width = int(generator.integers(settings.narrowest, settings.widest, endpoint=True))
    family = settings.families[generator.integers(len(settings.families))]
    return Problem(Shape(data, width), Episode(family, seed))


@cache
def data_of(name: DataSet) -> ClassificationData:
    """Return a data set in three parts."""
    from sightline.tamiyo_policy.hosts import digits_data, table_data

    return digits_data() if name == "digits" else table_data(name)
