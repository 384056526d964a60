"""The core types of growth: the rules of an environment, and what its steps give.

Letters: E environments, K slots, D observation columns. Everything else of growth is a function or a class over these.
"""

from typing import NamedTuple

from torch import Tensor


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
