"""The core types of growth: the rules of an environment, and what its steps give.

Letters: E environments, K slots, D observation columns. Everything else of growth is a function or a class over these.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sightline.tamiyo_policy.growth.governor import GovernorConfig
from sightline.tamiyo_policy.growth.rewards import RewardConfig
from sightline.tamiyo_policy.growth.shaped_reward import ShapedRewardConfig
from sightline.tamiyo_policy.hosts.slots import LifecycleConfig
from sightline.tamiyo_policy.hosts.training import TrainingConfig


class GrowthConfig(BaseModel):
    """The rules of a growth environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: TrainingConfig = Field(TrainingConfig(), description="How hosts are trained, and for how many steps.")
    lifecycle: LifecycleConfig = Field(LifecycleConfig(), description="The rules of a seed's life.")
    reward_mode: Literal["score", "shaped"] = Field("score", description="Change of the score, or the SHAPED reward.")
    reward: RewardConfig = Field(RewardConfig(), description="Score, and the reward of mode 'score'.")
    shaped: ShapedRewardConfig = Field(ShapedRewardConfig(), description="The reward of mode 'shaped'.")
    governor: GovernorConfig = Field(GovernorConfig(), description="When a host is rolled back, and what that costs.")
    layout: Literal["v114", "v116"] = Field("v116", description="Observation layout.")
    reference_parameters: float = Field(466.0, gt=0, description="Parameters by which rent is measured.")


class GrowthObservation(NamedTuple):
    """What a policy sees of E hosts.

    Attributes:
        features: float32 [E, D], see `ObservationLayout`.
        blueprint_indices: int64 [E, K], -1 where there is no module.
        masks: bool [E, size] by head, and "slot_by_op" [E, ops, K].
    """

    features: Tensor
    blueprint_indices: Tensor
    masks: dict[str, Tensor]


class GrowthInfo(NamedTuple):
    """What a step did; for buffers, reports and tests, not for policies.

    Attributes:
        accuracy: float32 [E], of the validation part in percent.
        loss: float32 [E], of the validation part in nats.
        training_loss: float32 [E], of the interval in nats.
        score: float32 [E], J in points; at the end of the mean of the last accuracies.
        parameters: float32 [E], of the modules, weighted by alpha.
        gain: float32 [E], accuracy minus accuracy with all seeds off, in points.
        contribution: float32 [E, K], accuracy minus accuracy without a seed, NaN where there is no live one.
        shapley: float32 [E, K], at the end of an episode exact Shapley values in points; else NaN.
        effective_op: int64 [E], the operation that was executed.
        panic: int64 [E], a `Panic` of the governor.
    """

    accuracy: Tensor
    loss: Tensor
    training_loss: Tensor
    score: Tensor
    parameters: Tensor
    gain: Tensor
    contribution: Tensor
    shapley: Tensor
    effective_op: Tensor
    panic: Tensor


class GrowthStep(NamedTuple):
    """The result of a step.

    Attributes:
        observation: of the state after the step.
        reward: float32 [E].
        terminated: bool [E], the end of the episode, or a rollback, after which the host goes on from its last good
            state.
        truncated: bool [E], always False: an episode's length is part of the task and observed.
        info: what the step did.
    """

    observation: GrowthObservation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: GrowthInfo
