"""What goes into a policy network, and what comes out of it.

Axes: B sequences, T steps, K slots, H heads, N hidden units. The module knows nothing about how any of it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import Tensor

from sightline.tamiyo_policy.policy.distribution import FactoredDistribution
from sightline.tamiyo_policy.policy.recurrence import Hidden

Masks: TypeAlias = Mapping[str, Tensor]
"""Legal choices, bool, by the names of `FactoredActionSpace.mask_shapes`: [B, T, ...], or [B, ...] for all T."""

Actions: TypeAlias = Tensor | Mapping[str, Tensor]
"""Actions as columns, int64 [B, T, H], or by the heads' names, each [B, T]."""


@dataclass(frozen=True)
class ImageColumns:
    """Columns of an observation that are an image's pixels, 0 to 255, row after row."""

    start: int
    """The first of `height` x `width` x `channels` columns."""
    height: int
    width: int
    channels: int
    channels_last: bool
    """Whether the channels of a pixel stand side by side; else each channel is an image of its own."""

    @property
    def stop(self) -> int:
        """The column behind the last."""
        return self.start + self.height * self.width * self.channels


@dataclass(frozen=True)
class InputShape:
    """What a network sees at every step: features, and, where the problem has slots, a category in each of them.

    Raises:
        ValueError: the slots' features are more than there are.
    """

    features: int
    """D, features of an observation."""
    slots: int = 0
    """K, slots whose categories are embedded; 0 for problems without slots."""
    categories: int = 0
    """Ids 0 to `categories` - 1 may stand in a slot; -1 is an empty one."""
    slot_features: int = 0
    """Number of features of each slot at the end of the observation, slot after slot, for conditioned sub-heads to
    read; 0 for none."""
    images: tuple[ImageColumns, ...] = ()
    """Which of the features are images, from left to right; convolutions read them."""

    def __post_init__(self) -> None:
        if self.slot_features * self.slots > self.features:
            raise ValueError(
                f"{self.slots} x {self.slot_features} features of slots do not fit into {self.features} features"
            )


@dataclass(frozen=True)
class PolicyInput:
    """What a policy sees of B environments."""

    states: Tensor
    """[B, D] float32, raw observations."""
    categories: Tensor | None
    """[B, K] int64, or None."""
    masks: dict[str, Tensor] | None
    """Legal actions, each [B, ...] bool, or None when all are legal."""


class ForwardOutput(NamedTuple):
    """What `RecurrentActorCritic.forward` gives; `output.op_logits` is short for `output.logits["op"]`."""

    logits: dict[str, Tensor]
    """Unmasked logits by head, float [B, T, size], or [B, T, contexts of the head, size] for conditioned sub-heads."""
    value: Tensor
    """[B, T], for the sampled operation where the critic depends on it."""
    sampled_op: Tensor | None
    """int64 [B, T], drawn from the masked distribution; None without an operation head."""
    hidden: Hidden
    """State after the last step."""
    lstm_out: Tensor
    """[B, T, N], what the heads read."""

    def __getattr__(self, name: str) -> Tensor:
        head = name.removesuffix("_logits")
        if head != name and head in self.logits:
            return self.logits[head]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; heads: {list(self.logits)!r}")


class ActionOutput(NamedTuple):
    """One action for each of B environments, without gradients."""

    actions: Tensor
    """int64 [B, H]."""
    log_probs: Tensor
    """float [B, H], 0 for heads that do not matter."""
    value: Tensor
    """[B], for the operation in `actions` where the critic depends on it; NaN where the critic was not asked."""
    hidden: Hidden
    """State after the step."""
    sampled_op: Tensor | None
    """int64 [B], the operation's column of `actions`; None without an operation head."""
    op_logits: Tensor | None
    """[B, ops], unmasked; None without an operation head."""
    distribution: FactoredDistribution
    """What the actions come from, batch shape [B]."""

    @property
    def entropies(self) -> Tensor:
        """Normalised entropy of each head, [B, H] in [0, 1]."""
        return self.distribution.normalised_entropies()


class EvaluationOutput(NamedTuple):
    """Stored actions seen by the present weights, with gradients."""

    log_probs: Tensor
    """float [B, T, H], 0 for heads that do not matter."""
    value: Tensor
    """[B, T], for the stored operation where the critic depends on it."""
    hidden: Hidden
    """State after the last step."""
    slot_predictions: Tensor | None
    """What is predicted for each slot, [B, T, K]; None without slots. Its gradient ends at the predictor and does not
    reach the recurrent features."""
    distribution: FactoredDistribution
    """What the actions come from, batch shape [B, T]."""

    @property
    def entropy(self) -> Tensor:
        """Exact entropy of the distribution over actions in nats, [B, T]."""
        return self.distribution.entropy()

    @property
    def entropy_terms(self) -> Tensor:
        """Each head's share of `entropy`, [B, T, H]."""
        return self.distribution.entropy_terms()

    @property
    def head_entropies(self) -> Tensor:
        """Normalised entropy of each head, [B, T, H] in [0, 1]."""
        return self.distribution.normalised_entropies()
