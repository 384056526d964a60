"""A policy as the rest of a training program sees it: four calls, heads by name, one place that knows its make-up.

`PolicyBundle` says what any trainable policy offers; `LSTMPolicyBundle` wraps `FactoredRecurrentActorCritic`. Axes: B
environments, T steps, D features, K slots, N hidden units. The module knows nothing about rollouts or losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.compat.config import PolicyConfig
from sightline.tamiyo_policy.compat.network import FactoredRecurrentActorCritic
from sightline.tamiyo_policy.policy.records import Actions, ForwardOutput, Masks
from sightline.tamiyo_policy.policy.recurrence import Hidden

CompileMode: TypeAlias = Literal["default", "reduce-overhead", "max-autotune"]
"""How much `torch.compile` may spend on the policy."""

ByHead: TypeAlias = dict[str, Tensor]
"""One tensor for each head, by the head's name."""


@dataclass(frozen=True)
class ActionResult:
    """One action for each of B environments."""

    actions: ByHead
    """Choices by head, int64 [B]."""
    log_probs: ByHead
    """Log-probabilities by head, float [B]; 0 where the head does not matter."""
    value: Tensor
    """[B], for the chosen operation where the critic depends on it; also the bootstrap value."""
    hidden: Hidden
    """State after the step."""
    op_logits: Tensor
    """[B, ops], unmasked."""
    head_entropies: ByHead
    """Normalised entropies by head, [B] in [0, 1]."""


@dataclass(frozen=True)
class EvaluationResult:
    """Stored actions under the present weights."""

    log_probs: ByHead
    """Log-probabilities by head, float [B, T]."""
    value: Tensor
    """[B, T], for the stored operation where the critic depends on it."""
    entropy: Tensor
    """[B, T], exact, of the distribution over whole actions, in nats."""
    head_entropies: ByHead
    """Normalised entropies by head, [B, T]."""
    hidden: Hidden
    """State after the last step."""
    contributions: Tensor
    """Predicted contribution of each slot, [B, T, K]."""


@runtime_checkable
class PolicyBundle(Protocol):
    """What a trainable policy offers. Arguments and errors of the calls are those of the network's methods."""

    @property
    def config(self) -> PolicyConfig:
        """What the policy is made of."""
        ...

    @property
    def network(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        ...

    @property
    def is_recurrent(self) -> bool:
        """Whether the hidden state matters."""
        ...

    @property
    def is_compiled(self) -> bool:
        """Whether `compile` has been called."""
        ...

    def get_action(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> ActionResult:
        """Act for one step: state [B, D], blueprint_indices [B, K]."""
        ...

    def forward(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ForwardOutput:
        """Run over sequences: state [B, T, D], blueprint_indices [B, T, K]."""
        ...

    def evaluate_actions(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        actions: Actions,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
    ) -> EvaluationResult:
        """Evaluate stored actions, with gradients: by head [B, T], or [B, T, heads]."""
        ...

    def get_value(
        self, state: Tensor, blueprint_indices: Tensor, *, hidden: Hidden | None = None, op: Tensor | None = None
    ) -> Tensor:
        """Show the critic's values [B, T] for debugging; never used in training."""
        ...

    def initial_hidden(self, batch: int) -> Hidden:
        """Return the state in which B episodes start."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return configuration and weights."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over weights of a policy with the same configuration."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move the parameters, before `compile`."""
        ...

    def compile(self, mode: CompileMode = "default") -> None:
        """Compile what can be compiled."""
        ...


class LSTMPolicyBundle:
    """`FactoredRecurrentActorCritic` as a `PolicyBundle` for the growth experiment.

    Args:
        config: what the policy is made of.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config
        self._network = FactoredRecurrentActorCritic.from_config(config)
        self._is_compiled = False

    @property
    def config(self) -> PolicyConfig:
        """What the policy is made of."""
        return self._config

    @property
    def network(self) -> FactoredRecurrentActorCritic:
        """The module whose parameters are trained."""
        return self._network

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._network.memory_norm.weight.device

    @property
    def is_recurrent(self) -> bool:
        """Whether the hidden state matters."""
        return self._config.recurrent

    @property
    def is_compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self._is_compiled

    def get_action(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> ActionResult:
        """Act for one step, see `FactoredRecurrentActorCritic.get_action`: state [B, D], blueprint_indices [B, K].

        Raises:
            ValueError: as the network's method.
        """
        if state.ndim != 2:
            raise ValueError(f"get_action takes one step, state [B, D], not {list(state.shape)}")
        output = self._network.get_action(
            state.unsqueeze(1),
            blueprint_indices,
            masks=masks,
            hidden=hidden,
            deterministic=deterministic,
            generator=generator,
        )
        by_name = self._network.action_space.by_name
        assert output.op_logits is not None  # the growth space has an operation
        return ActionResult(
            by_name(output.actions),
            by_name(output.log_probs),
            output.value,
            output.hidden,
            output.op_logits,
            by_name(output.entropies),
        )

    def forward(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ForwardOutput:
        """Run over sequences, see `FactoredRecurrentActorCritic.forward`."""
        return self._network(
            state,
            blueprint_indices,
            hidden=hidden,
            masks=masks,
            episode_starts=episode_starts,
            generator=generator,
        )

    def evaluate_actions(
        self,
        state: Tensor,
        blueprint_indices: Tensor,
        actions: Actions,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
    ) -> EvaluationResult:
        """Evaluate stored actions, see `FactoredRecurrentActorCritic.evaluate_actions`."""
        output = self._network.evaluate_actions(
            state, blueprint_indices, actions, masks=masks, hidden=hidden, episode_starts=episode_starts
        )
        by_name = self._network.action_space.by_name
        assert output.slot_predictions is not None  # a bundle has slots
        return EvaluationResult(
            by_name(output.log_probs),
            output.value,
            output.entropy,
            by_name(output.head_entropies),
            output.hidden,
            output.slot_predictions,
        )

    def get_value(
        self, state: Tensor, blueprint_indices: Tensor, *, hidden: Hidden | None = None, op: Tensor | None = None
    ) -> Tensor:
        """Show the critic's values [B, T] for debugging; see `FactoredRecurrentActorCritic.get_value`."""
        return self._network.get_value(state, blueprint_indices, hidden=hidden, op=op)

    def initial_hidden(self, batch: int) -> Hidden:
        """Return the state in which B episodes start: zeros, each float32 [1, B, N]."""
        return self._network.initial_hidden(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return `"config"`, plain values, and `"network"`, the weights by name."""
        return {"config": self._config.model_dump(mode="json"), "network": self._network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; nothing is changed if it does not fit.

        Raises:
            ValueError: the weights belong to another configuration (the order of the slots counts, the seed and
                epsilon do not), or weights are missing, unknown or of another shape.
        """
        saved = PolicyConfig.model_validate(state["config"])
        differing = {
            name: (getattr(saved, name), getattr(self._config, name))
            for name in PolicyConfig.model_fields
            if name not in ("seed", "epsilon") and getattr(saved, name) != getattr(self._config, name)
        }
        if differing:
            raise ValueError(f"these weights belong to another policy; differing (saved, present): {differing!r:.500}")
        wanted = {name: weight.shape for name, weight in self._network.state_dict().items()}
        given = {name: weight.shape for name, weight in state["network"].items()}
        if wanted != given:  # checked first, as torch would copy what fits before it raises
            wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
            raise ValueError(f"weights are missing, unknown or of another shape: {wrong!r:.500}")
        self._network.load_state_dict(state["network"])

    def to(self, device: torch.device | str) -> Self:
        """Move the parameters.

        Raises:
            RuntimeError: the policy is compiled, for the device it is on.
        """
        if self._is_compiled:
            raise RuntimeError("a compiled policy cannot be moved: call to() before compile()")
        self._network.to(device)
        return self

    def compile(self, mode: CompileMode = "default") -> None:
        """Compile the perceptrons, at their first use; the LSTM is one fused call already. Names of weights stay.

        Raises:
            RuntimeError: the policy is compiled already.
        """
        if self._is_compiled:
            raise RuntimeError("the policy is compiled already")
        for module in (self._network.entrance, *self._network.heads.values(), self._network.critic):
            if module is not None:
                module.compile(mode=mode)
        self._is_compiled = True
