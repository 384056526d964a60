"""The core types of growth: the rules of an environment, and what its steps give.

Letters: E environments, K slots, D observation columns. Everything else of growth is a function or a class over these.
"""

from typing import NamedTuple

from torch import Tensor


class GrowthObservation(NamedTuple):
    """What a policy sees of E hosts."""

    features: Tensor
    """float32 [E, D], see `ObservationLayout`."""
    blueprint_indices: Tensor
    """int64 [E, K], -1 where there is no module."""
    masks: dict[str, Tensor]
    """bool [E, size] by head, and "slot_by_op" [E, ops, K]."""


class GrowthInfo(NamedTuple):
    """What a step did; for buffers, reports and tests, not for policies."""

    accuracy: Tensor
    """float32 [E], of the validation part in percent."""
    loss: Tensor
    """float32 [E], of the validation part in nats."""
    training_loss: Tensor
    """float32 [E], of the interval in nats."""
    score: Tensor
    """float32 [E], J in points; at the end of the mean of the last accuracies."""
    parameters: Tensor
    """float32 [E], of the modules, weighted by alpha."""
    gain: Tensor
    """float32 [E], accuracy minus accuracy with all seeds off, in points."""
    contribution: Tensor
    """float32 [E, K], accuracy minus accuracy without a seed, NaN where there is no live one."""
    shapley: Tensor
    """float32 [E, K], at the end of an episode exact Shapley values in points; else NaN."""
    effective_op: Tensor
    """int64 [E], the operation that was executed."""
    panic: Tensor
    """int64 [E], a `Panic` of the governor."""


class GrowthStep(NamedTuple):
    """The result of a step."""

    observation: GrowthObservation
    """The state after the step."""
    reward: Tensor
    """float32 [E]."""
    terminated: Tensor
    """bool [E], the end of the episode, or a rollback, after which the host goes on from its last good state."""
    truncated: Tensor
    """bool [E], always False: an episode's length is part of the task and observed."""
    info: GrowthInfo
    """What the step did."""
