"""The recurrent actor-critic: features, LSTM, one head for each part of an action, a critic, contribution predictor.

Axes: B sequences, T steps, D features of the observation, K slots, H heads, N hidden units. The module knows nothing
about rewards, rollouts, optimisers, or which actions are legal: masks are given.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.config import ValueMode
from sightline.tamiyo_policy.policy.contexts import ContextTable
from sightline.tamiyo_policy.policy.distribution import FactoredDistribution
from sightline.tamiyo_policy.policy.heads import ConditionedHead, perceptron
from sightline.tamiyo_policy.policy.outputs import ActionOutput, Actions, EvaluationOutput, ForwardOutput, Masks
from sightline.tamiyo_policy.policy.recurrence import Hidden, Memoryless, ResettingLSTM, initialise_linear

_EMBEDDING_DIM = 4
_DEEP_HEAD_CHOICES = 8  # heads with more choices, as the blueprint's, have a further layer
_MIN_CRITIC_WIDTH = 32


class _Pass(NamedTuple):
    """One run of the network up to the distribution; batch shape [B, T], or [B] for a single step."""

    lstm_out: Tensor
    hidden: Hidden
    logits: dict[str, Tensor]
    distribution: FactoredDistribution


class FactoredRecurrentActorCritic(nn.Module):
    """Actor and critic over one recurrent trunk.

    Embedded blueprints beside the observation -> linear, LayerNorm, ReLU -> x + LayerNorm(LSTM(x)) -> heads. Without an
    entrance the LSTM reads what is observed as it is, and the heads LayerNorm(LSTM(x)) alone.

    Args:
        state_dim: D.
        num_slots: K, slots whose blueprints are embedded; 0 for problems without slots.
        action_space: the heads; None is `growth_action_space` of the slots.
        hidden_dim: N.
        value_mode: what the critic estimates.
        condition_sub_heads: whether the sub-heads know the operation and the chosen slot. Otherwise they depend on
            them through masks alone.
        slot_feature_dim: S, how many features each slot has at the end of the observation, slot after slot, for
            conditioned sub-heads to read; 0 for none.
        entrance: whether there is a layer before the LSTM, which the heads see past it too. Observations of a few
            plain features are learned from in fewer steps without.
        recurrent: False gives the same network without memory, as a control.
        epsilon: share of the uniform distribution over legal choices in every head, see `FactoredDistribution`. May be
            set on the network between rounds, not between a rollout and its update.
        num_blueprints: ids 0 to num_blueprints - 1 may stand in a slot.
        generator: draws the initial weights; None is torch's default.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        state_dim: int,
        num_slots: int,
        *,
        action_space: FactoredActionSpace | None = None,
        hidden_dim: int = 128,
        value_mode: ValueMode = "state",
        condition_sub_heads: bool = False,
        slot_feature_dim: int = 0,
        entrance: bool = True,
        recurrent: bool = True,
        epsilon: float = 0.0,
        num_blueprints: int = NUM_BLUEPRINTS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        space = action_space if action_space is not None else growth_action_space(num_slots, num_blueprints)
        if value_mode not in get_args(ValueMode):
            raise ValueError(f"value_mode must be one of {get_args(ValueMode)!r}, not {value_mode!r}")
        if value_mode != "state" and space.op_head is None:
            raise ValueError(f"value_mode {value_mode!r} needs an operation head; this action space has none")
        if slot_feature_dim * num_slots > state_dim:
            raise ValueError(f"{num_slots} x {slot_feature_dim} slot features do not fit into state_dim {state_dim!r}")
        self.state_dim, self.num_slots, self.hidden_dim = state_dim, num_slots, hidden_dim
        self.action_space, self.value_mode, self.epsilon = space, value_mode, epsilon
        self.slot_feature_dim, self.num_blueprints, self.recurrent = slot_feature_dim, num_blueprints, recurrent
        self.contexts = ContextTable(space, conditioned=condition_sub_heads)

        embedded = 0
        self.blueprint_embedding: nn.Embedding | None = None
        if num_slots:
            embedded = _EMBEDDING_DIM
            self.blueprint_embedding = nn.Embedding(num_blueprints + 1, embedded)  # the last row: an empty slot
            nn.init.normal_(self.blueprint_embedding.weight, std=0.02, generator=generator)
        observed = state_dim + embedded * num_slots
        self.entrance: nn.Sequential | None = None
        if entrance:
            layer = nn.Linear(observed, hidden_dim)
            initialise_linear(layer, 2**0.5, generator)
            self.entrance = nn.Sequential(layer, nn.LayerNorm(hidden_dim), nn.ReLU())
        memory = ResettingLSTM if recurrent else Memoryless
        self.memory = memory(hidden_dim if entrance else observed, hidden_dim, generator=generator)
        self.memory_norm = nn.LayerNorm(hidden_dim)
        self.heads = nn.ModuleDict()
        for head in range(len(space.names)):
            self.heads[space.names[head]] = self._make_head(head, embedded + slot_feature_dim, generator)
        critic = [max(hidden_dim // part, _MIN_CRITIC_WIDTH) for part in (2, 4, 8)]
        inputs = hidden_dim + (0 if value_mode == "state" else space.num_ops)
        self.critic = perceptron((inputs, *critic, 1), last_gain=0.1, normalised=2, generator=generator)
        self.contribution_head: nn.Sequential | None = None
        if num_slots:
            # no dropout: its randomness would come from outside the explicit generators
            widths = (hidden_dim, hidden_dim // 2, hidden_dim // 4, num_slots)
            self.contribution_head = perceptron(widths, last_gain=0.1, normalised=1, generator=generator)

    def _make_head(self, head: int, slot_features: int, generator: torch.Generator | None) -> nn.Module:
        space, narrow = self.action_space, self.hidden_dim // 2
        hidden = (self.hidden_dim, narrow) if space.sizes[head] > _DEEP_HEAD_CHOICES else (narrow,)
        widths = (self.hidden_dim, *hidden, space.sizes[head])
        contexts = self.contexts.of(head)
        if self.contexts.shares_logits(head) or not contexts:
            return perceptron(widths, last_gain=0.01, generator=generator)
        num_named = 0 if space.slot_head is None else space.sizes[space.slot_head]
        if self.num_slots not in (0, num_named):
            raise ValueError(f"the slot head chooses among {num_named} slots, but {self.num_slots} are observed")
        features = num_named + (slot_features if self.num_slots else 0)
        return ConditionedHead(widths, contexts, num_ops=space.num_ops, slot_features=features, generator=generator)

    @property
    def value_output(self) -> nn.Linear:
        """The critic's last layer, [1, width]: what a change of the value's scale has to be undone in (PopArt)."""
        layer = self.critic[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def initial_hidden(self, batch: int) -> Hidden:
        """The state at the start of an episode: zeros, h and c each float32 [1, B, N]."""
        zeros = self.memory_norm.weight.new_zeros(1, batch, self.hidden_dim)
        return zeros, zeros.clone()

    def forward(
        self,
        state: Tensor,
        blueprint_indices: Tensor | None = None,
        hidden: Hidden | None = None,
        masks: Masks | None = None,
        episode_starts: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ForwardOutput:
        """Runs over sequences and draws an operation at every step.

        Args:
            state: float [B, T, D].
            blueprint_indices: int64 [B, T, K], or [B, K] for all steps alike: what is in each slot, -1 for nothing.
                None exactly if the network has no slots.
            hidden: state before the first step; None is `initial_hidden`.
            masks: legal choices; None if everything is legal.
            episode_starts: bool [B, T], True where the state is zeroed before the step; None for nowhere.
            generator: draws the operation, on the network's device; None is torch's default.

        Raises:
            ValueError: shapes do not fit, a blueprint index is out of range, a mask is missing, or a head that can be
                reached has no legal choice.
        """
        with _weights_stay_trainable():
            run = self._run(state, blueprint_indices, hidden, masks, episode_starts)
            sampled_op = self._op(run.distribution.sample(generator))
            value = self._value(run, sampled_op)
        return ForwardOutput(run.logits, value, sampled_op, run.hidden, run.lstm_out)

    @torch.no_grad()
    def get_action(
        self,
        state: Tensor,
        blueprint_indices: Tensor | None = None,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> ActionOutput:
        """Acts for one step. The value belongs to the operation in the returned action, so it also serves as bootstrap.

        Args:
            state: float [B, 1, D].
            blueprint_indices: int64 [B, 1, K] or [B, K], see `forward`.
            masks: legal choices, [B, ...] or [B, 1, ...]; None if everything is legal.
            hidden: state before the step; None is `initial_hidden`.
            episode_starts: bool [B, 1], True where the step is the first of its episode.
            deterministic: takes the most probable operation, slot and so on instead of drawing them.
            generator: draws the actions, on the network's device; None is torch's default.

        Raises:
            ValueError: as `forward`, or T is not 1.
        """
        if state.ndim != 3 or state.shape[1] != 1:
            raise ValueError(f"get_action takes one step, state [B, 1, {self.state_dim}], not {list(state.shape)}")
        with _weights_stay_trainable():
            run = self._run(state, blueprint_indices, hidden, masks, episode_starts, single=True)
            actions = run.distribution.mode() if deterministic else run.distribution.sample(generator)
            log_probs = run.distribution.log_prob(actions)
            op = self._op(actions)
            value = self._value(run, op)
        op_head = self.action_space.op_head
        op_logits = None if op_head is None else run.logits[self.action_space.names[op_head]]
        return ActionOutput(actions, log_probs, value, run.hidden, op, op_logits, run.distribution)

    def evaluate_actions(
        self,
        state: Tensor,
        blueprint_indices: Tensor | None,
        actions: Actions,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
    ) -> EvaluationOutput:
        """Log-probabilities, entropies and values of stored actions; arguments as in `forward`.

        Raises:
            ValueError: as `forward`, or a head is missing from `actions`.
        """
        columns = actions if isinstance(actions, Tensor) else self.action_space.columns(actions)
        if columns.shape != (*state.shape[:2], len(self.action_space.names)):
            expected = [*state.shape[:2], len(self.action_space.names)]
            raise ValueError(f"actions must have shape {expected}, not {list(columns.shape)}")
        with _weights_stay_trainable():
            run = self._run(state, blueprint_indices, hidden, masks, episode_starts)
            value = self._value(run, self._op(columns))
            contributions = None
            if self.contribution_head is not None:
                contributions = self.contribution_head(run.lstm_out.detach()).float()
        log_probs = run.distribution.log_prob(columns)
        return EvaluationOutput(log_probs, value, run.hidden, contributions, run.distribution)

    @torch.no_grad()
    def get_value(
        self,
        state: Tensor,
        blueprint_indices: Tensor | None = None,
        *,
        hidden: Hidden | None = None,
        op: Tensor | None = None,
    ) -> Tensor:
        """The critic's view for inspection and debugging, never for training: bootstraps come from `get_action`.

        Args:
            state: float [B, T, D].
            blueprint_indices: see `forward`.
            hidden: state before the first step.
            op: int64 [B, T], for which operation where the critic depends on it; None is the mean over pi(o), every
                operation taken for legal.

        Returns:
            [B, T].
        """
        with _weights_stay_trainable():
            run = self._run(state, blueprint_indices, hidden, None, None)
            if self.value_mode == "state":
                return self._value(run, None)
            return self._expected_q(run) if op is None else self._q(run.lstm_out, op)

    def _run(
        self,
        state: Tensor,
        blueprint_indices: Tensor | None,
        hidden: Hidden | None,
        masks: Masks | None,
        episode_starts: Tensor | None,
        *,
        single: bool = False,
    ) -> _Pass:
        if state.ndim != 3 or state.shape[-1] != self.state_dim:
            raise ValueError(f"state must have shape [B, T, {self.state_dim}], not {list(state.shape)}")
        batch, steps, _ = state.shape
        if episode_starts is not None and episode_starts.shape != (batch, steps):
            raise ValueError(f"episode_starts must have shape {[batch, steps]}, not {list(episode_starts.shape)}")
        blueprints = self._embed(blueprint_indices, batch, steps)
        inputs = state if blueprints is None else torch.cat([state, blueprints.flatten(-2)], dim=-1)
        features = inputs if self.entrance is None else self.entrance(inputs)
        before = self.initial_hidden(batch) if hidden is None else hidden
        remembered, (h, c) = self.memory(features, before, episode_starts)
        lstm_out = self.memory_norm(remembered)
        if self.entrance is not None:
            lstm_out = features + lstm_out
        masks = self._over_time(masks, batch, steps)
        if single:
            lstm_out, state = lstm_out.squeeze(1), state.squeeze(1)
            blueprints = None if blueprints is None else blueprints.squeeze(1)
            masks = None if masks is None else {name: mask.squeeze(1) for name, mask in masks.items()}
        logits = self._logits(lstm_out, state, blueprints)
        distribution = FactoredDistribution(self.contexts, logits, masks, epsilon=self.epsilon)
        return _Pass(lstm_out, (h.float(), c.float()), logits, distribution)

    def _embed(self, indices: Tensor | None, batch: int, steps: int) -> Tensor | None:
        """Embedded blueprints, [B, T, K, embedding]; the row behind the last blueprint stands for an empty slot."""
        if self.blueprint_embedding is None:
            if indices is not None:
                raise ValueError("this network has no slots, so it takes no blueprint_indices")
            return None
        expected = (batch, steps, self.num_slots)
        if indices is None:
            raise ValueError(f"blueprint_indices {list(expected)} are needed; -1 stands for an empty slot")
        indices = indices.unsqueeze(1).expand(expected) if indices.shape == (batch, self.num_slots) else indices
        if indices.shape != expected or indices.dtype != torch.int64:
            got = f"{indices.dtype} {list(indices.shape)}"
            raise ValueError(f"blueprint_indices must be torch.int64 {list(expected)}, not {got}")
        outside = (indices < -1) | (indices >= self.num_blueprints)
        if bool(outside.any()):
            found = indices[outside][0].item()
            raise ValueError(f"blueprint indices go from -1 (empty) to {self.num_blueprints - 1}; found {found!r}")
        return self.blueprint_embedding(torch.where(indices == -1, self.num_blueprints, indices))

    def _logits(self, lstm_out: Tensor, state: Tensor, blueprints: Tensor | None) -> dict[str, Tensor]:
        slots = self._slot_features(state, blueprints) if self.contexts.conditioned else None
        return {
            name: head(lstm_out, slots) if isinstance(head, ConditionedHead) else head(lstm_out)
            for name, head in self.heads.items()
        }

    def _slot_features(self, state: Tensor, blueprints: Tensor | None) -> Tensor:
        """What conditioned heads read of each slot, [..., K, features]: which one, its blueprint, what is observed."""
        slot_head = self.action_space.slot_head
        number = 0 if slot_head is None else self.action_space.sizes[slot_head]
        one_hot = torch.eye(number, dtype=state.dtype, device=state.device)
        parts = [one_hot.expand(*state.shape[:-1], number, number)]
        if blueprints is not None and number:
            parts.append(blueprints)
            observed = state[..., self.state_dim - number * self.slot_feature_dim :]
            parts.append(observed.unflatten(-1, (number, self.slot_feature_dim)))
        return torch.cat(parts, dim=-1)

    def _over_time(self, masks: Masks | None, batch: int, steps: int) -> dict[str, Tensor] | None:
        if masks is None:
            return None
        spread = {}
        for name, shape in self.action_space.mask_shapes.items():
            if name in masks:
                mask = masks[name]
                once = mask.shape == (batch, *shape)
                spread[name] = mask.unsqueeze(1).expand(batch, steps, *shape) if once else mask
        return spread

    def _op(self, actions: Tensor) -> Tensor | None:
        return None if self.action_space.op_head is None else actions[..., self.action_space.op_head]

    def _value(self, run: _Pass, op: Tensor | None) -> Tensor:
        if self.value_mode == "op_expected_q":
            return self._expected_q(run)
        if self.value_mode == "op_q" and op is not None:
            return self._q(run.lstm_out, op)
        return self.critic(run.lstm_out).squeeze(-1).float()

    def _q(self, lstm_out: Tensor, op: Tensor) -> Tensor:
        """Q(s, o), [...] for features [..., N] and operations [...]."""
        one_hot = nn.functional.one_hot(op, self.action_space.num_ops).to(lstm_out.dtype)
        return self.critic(torch.cat([lstm_out, one_hot], dim=-1)).squeeze(-1).float()

    def _expected_q(self, run: _Pass) -> Tensor:
        """Sum over o of pi(o) Q(s, o), [B, T]; pi is held fixed, the critic's loss must not move the actor."""
        number = self.action_space.num_ops
        every = torch.arange(number, device=run.lstm_out.device).expand(*run.lstm_out.shape[:-1], number)
        features = run.lstm_out.unsqueeze(-2).expand(*every.shape, self.hidden_dim)
        return (run.distribution.op_probabilities.detach() * self._q(features, every)).sum(-1)


@contextmanager
def _weights_stay_trainable() -> Generator[None]:
    """Keeps autocast from remembering weights that were rounded without a graph.

    Autocast rounds each weight once and reuses the copy until its region ends. In older versions of torch a copy made
    while gradients were off has no graph, and every later use in the region leaves the weight without gradient
    (pytorch issue 158232).
    """
    if torch.is_grad_enabled():
        yield
        return
    remembered = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(remembered)
