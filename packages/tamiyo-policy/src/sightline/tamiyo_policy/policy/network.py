"""The recurrent actor-critic: features, memory, one head for each part of an action, a critic, a predictor for slots.

Axes: B sequences, T steps, D features of the observation, K slots, H heads, N hidden units. The module knows nothing
about rewards, rollouts, optimisers, or which actions are legal: masks are given.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.contexts import ContextTable
from sightline.tamiyo_policy.policy.distribution import FactoredDistribution
from sightline.tamiyo_policy.policy.heads import ConditionedHead, perceptron
from sightline.tamiyo_policy.policy.images import ImageEncoder
from sightline.tamiyo_policy.policy.records import (
    ActionOutput,
    Actions,
    EvaluationOutput,
    ForwardOutput,
    InputShape,
    Masks,
)
from sightline.tamiyo_policy.policy.recurrence import MEMORIES, Hidden, Memoryless, initialise_linear

_EMBEDDING_DIM = 4
_DEEP_HEAD_CHOICES = 8  # heads with more choices have a further layer
_MIN_CRITIC_WIDTH = 32


class _Pass(NamedTuple):
    """One run of the network up to the distribution; batch shape [B, T], or [B] for a single step."""

    lstm_out: Tensor
    hidden: Hidden
    logits: dict[str, Tensor]
    distribution: FactoredDistribution


class RecurrentActorCritic(nn.Module):
    """Actor and critic over one recurrent trunk.

    Embedded categories beside the observation -> linear, LayerNorm, ReLU -> x + LayerNorm(LSTM(x)) -> heads. Without an
    entrance the LSTM reads what is observed as it is, and the heads LayerNorm(LSTM(x)) alone. Images are read by
    convolutions first; a GRU can stand in the LSTM's place.

    Args:
        inputs: what is observed.
        action_space: the heads.
        config: what the network is made of. Its `epsilon` may be changed on the network between rounds, not between a
            rollout and its update.
        generator: source of the initial weights; None is torch's default.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        inputs: InputShape,
        action_space: FactoredActionSpace,
        config: NetworkConfig,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if config.value_mode != "state" and action_space.op_head is None:
            raise ValueError(f"value_mode {config.value_mode!r} needs an operation head; this action space has none")
        named = 0 if action_space.slot_head is None else action_space.sizes[action_space.slot_head]
        if config.condition_sub_heads and inputs.slots not in (0, named):
            raise ValueError(f"the slot head chooses among {named} slots, but {inputs.slots} are observed")
        self.inputs, self.action_space, self.config = inputs, action_space, config
        self.epsilon = config.epsilon
        self.contexts = ContextTable(action_space, conditioned=config.condition_sub_heads)

        width, embedded = config.hidden_dim, 0
        self.category_embedding: nn.Embedding | None = None
        if inputs.slots:
            embedded = _EMBEDDING_DIM
            self.category_embedding = nn.Embedding(inputs.categories + 1, embedded)  # the last row: an empty slot
            nn.init.normal_(self.category_embedding.weight, std=0.02, generator=generator)
        self.images = ImageEncoder(inputs, width, generator=generator) if inputs.images else None
        observed = (self.images.size if self.images else inputs.features) + embedded * inputs.slots
        self.entrance: nn.Sequential | None = None
        if config.entrance:
            layer = nn.Linear(observed, width)
            initialise_linear(layer, 2**0.5, generator)
            self.entrance = nn.Sequential(layer, nn.LayerNorm(width), nn.ReLU())
        memory = MEMORIES[config.memory] if config.recurrent else Memoryless
        self.memory = memory(width if config.entrance else observed, width, generator=generator)
        self.memory_norm = nn.LayerNorm(width)
        slot_features = named + (embedded + inputs.slot_features if inputs.slots else 0)
        self.heads = nn.ModuleDict()
        for head in range(len(action_space.names)):
            self.heads[action_space.names[head]] = self._make_head(head, slot_features, generator)
        critic = [max(width // part, _MIN_CRITIC_WIDTH) for part in (2, 4, 8)]
        read = width + (0 if config.value_mode == "state" else action_space.num_ops)
        self.critic = perceptron((read, *critic, 1), last_gain=0.1, normalised=2, generator=generator)
        self.slot_predictor: nn.Sequential | None = None
        if inputs.slots:
            # no dropout: its randomness would come from outside the explicit generators
            widths = (width, width // 2, width // 4, inputs.slots)
            self.slot_predictor = perceptron(widths, last_gain=0.1, normalised=1, generator=generator)

    def _make_head(self, head: int, slot_features: int, generator: torch.Generator | None) -> nn.Module:
        space, width = self.action_space, self.config.hidden_dim
        hidden = (width, width // 2) if space.sizes[head] > _DEEP_HEAD_CHOICES else (width // 2,)
        widths = (width, *hidden, space.sizes[head])
        contexts = self.contexts.of(head)
        if self.contexts.shares_logits(head) or not contexts:
            return perceptron(widths, last_gain=0.01, generator=generator)
        return ConditionedHead(
            widths, contexts, num_ops=space.num_ops, slot_features=slot_features, generator=generator
        )

    @property
    def value_output(self) -> nn.Linear:
        """The critic's last layer, [1, width]: what a change of the value's scale has to be undone in (PopArt)."""
        layer = self.critic[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def initial_hidden(self, batch: int) -> Hidden:
        """Return the state at the start of an episode: zeros, h and c each float32 [1, B, N]; a GRU leaves c alone."""
        zeros = self.memory_norm.weight.new_zeros(1, batch, self.config.hidden_dim)
        return zeros, zeros.clone()

    def forward(
        self,
        state: Tensor,
        categories: Tensor | None = None,
        hidden: Hidden | None = None,
        masks: Masks | None = None,
        episode_starts: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ForwardOutput:
        """Run over sequences and draw an operation at every step.

        Args:
            state: float [B, T, D].
            categories: int64 [B, T, K], or [B, K] for all steps alike: what is in each slot, -1 for nothing.
                None exactly if the network has no slots.
            hidden: state before the first step; None is `initial_hidden`.
            masks: legal choices; None if everything is legal.
            episode_starts: bool [B, T], True where the state is zeroed before the step; None for nowhere.
            generator: draws the operation, on the network's device; None is torch's default.

        Raises:
            ValueError: shapes do not fit, a category is out of range, a mask is missing, or a head that can be
                reached has no legal choice.
        """
        with _weights_stay_trainable():
            run = self._run(state, categories, hidden, masks, episode_starts)
            sampled_op = self._op(run.distribution.sample(generator))
            value = self._value(run, sampled_op)
        return ForwardOutput(run.logits, value, sampled_op, run.hidden, run.lstm_out)

    @torch.no_grad()
    def get_action(
        self,
        state: Tensor,
        categories: Tensor | None = None,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
        with_value: bool = True,
    ) -> ActionOutput:
        """Act for one step. The value belongs to the operation in the returned action, so it also serves as bootstrap.

        Args:
            state: float [B, 1, D].
            categories: int64 [B, 1, K] or [B, K], see `forward`.
            masks: legal choices, [B, ...] or [B, 1, ...]; None if everything is legal.
            hidden: state before the step; None is `initial_hidden`.
            episode_starts: bool [B, 1], True where the step is the first of its episode.
            deterministic: takes the most probable operation, slot and so on instead of drawing them.
            generator: draws the actions, on the network's device; None is torch's default.
            with_value: whether the critic is asked; else the value is NaN.

        Raises:
            ValueError: as `forward`, or T is not 1.
        """
        if state.ndim != 3 or state.shape[1] != 1:
            raise ValueError(f"get_action takes one step, state [B, 1, D], not {list(state.shape)}")
        with _weights_stay_trainable():
            run = self._run(state, categories, hidden, masks, episode_starts, single=True)
            actions = run.distribution.mode() if deterministic else run.distribution.sample(generator)
            log_probs = run.distribution.log_prob(actions)
            op = self._op(actions)
            value = self._value(run, op) if with_value else log_probs.new_full((len(state),), torch.nan)
        op_head = self.action_space.op_head
        op_logits = None if op_head is None else run.logits[self.action_space.names[op_head]]
        return ActionOutput(actions, log_probs, value, run.hidden, op, op_logits, run.distribution)

    def evaluate_actions(
        self,
        state: Tensor,
        categories: Tensor | None,
        actions: Actions,
        *,
        masks: Masks | None = None,
        hidden: Hidden | None = None,
        episode_starts: Tensor | None = None,
    ) -> EvaluationOutput:
        """Return the log-probabilities, entropies and values of stored actions; arguments as in `forward`.

        Raises:
            ValueError: as `forward`, or a head is missing from `actions`.
        """
        columns = actions if isinstance(actions, Tensor) else self.action_space.columns(actions)
        if columns.shape != (*state.shape[:2], len(self.action_space.names)):
            expected = [*state.shape[:2], len(self.action_space.names)]
            raise ValueError(f"actions must have shape {expected}, not {list(columns.shape)}")
        with _weights_stay_trainable():
            run = self._run(state, categories, hidden, masks, episode_starts)
            value = self._value(run, self._op(columns))
            slot_predictions = None
            if self.slot_predictor is not None:
                slot_predictions = self.slot_predictor(run.lstm_out.detach()).float()
        log_probs = run.distribution.log_prob(columns)
        return EvaluationOutput(log_probs, value, run.hidden, slot_predictions, run.distribution)

    @torch.no_grad()
    def get_value(
        self,
        state: Tensor,
        categories: Tensor | None = None,
        *,
        hidden: Hidden | None = None,
        op: Tensor | None = None,
    ) -> Tensor:
        """Return the critic's view for debugging, never for training: bootstraps come from `get_action`.

        Args:
            state: float [B, T, D].
            categories: what is in the slots; see `forward`.
            hidden: state before the first step.
            op: int64 [B, T], for which operation where the critic depends on it; None is the mean over pi(o), every
                operation taken for legal.

        Returns:
            [B, T].
        """
        with _weights_stay_trainable():
            run = self._run(state, categories, hidden, None, None)
            if self.config.value_mode == "state":
                return self._value(run, None)
            return self._expected_q(run) if op is None else self._q(run.lstm_out, op)

    def _run(
        self,
        state: Tensor,
        categories: Tensor | None,
        hidden: Hidden | None,
        masks: Masks | None,
        episode_starts: Tensor | None,
        *,
        single: bool = False,
    ) -> _Pass:
        if state.ndim != 3 or state.shape[-1] != self.inputs.features:
            raise ValueError(f"state must have shape [B, T, {self.inputs.features}], not {list(state.shape)}")
        batch, steps, _ = state.shape
        if episode_starts is not None and episode_starts.shape != (batch, steps):
            raise ValueError(f"episode_starts must have shape {[batch, steps]}, not {list(episode_starts.shape)}")
        embedded = self._embed(categories, batch, steps)
        inputs = state if self.images is None else self.images(state)
        inputs = inputs if embedded is None else torch.cat([inputs, embedded.flatten(-2)], dim=-1)
        features = inputs if self.entrance is None else self.entrance(inputs)
        before = self.initial_hidden(batch) if hidden is None else hidden
        remembered, (h, c) = self.memory(features, before, episode_starts)
        lstm_out = self.memory_norm(remembered)
        if self.entrance is not None:
            lstm_out = features + lstm_out
        masks = self._over_time(masks, batch, steps)
        if single:
            lstm_out, state = lstm_out.squeeze(1), state.squeeze(1)
            embedded = None if embedded is None else embedded.squeeze(1)
            masks = None if masks is None else {name: mask.squeeze(1) for name, mask in masks.items()}
        logits = self._logits(lstm_out, state, embedded)
        distribution = FactoredDistribution(self.contexts, logits, masks, epsilon=self.epsilon)
        return _Pass(lstm_out, (h.float(), c.float()), logits, distribution)

    def _embed(self, indices: Tensor | None, batch: int, steps: int) -> Tensor | None:
        """Return embedded categories, [B, T, K, embedding]; the row behind the last one stands for an empty slot."""
        if self.category_embedding is None:
            if indices is not None:
                raise ValueError("this network has no slots, so it takes no categories")
            return None
        expected = (batch, steps, self.inputs.slots)
        if indices is None:
            raise ValueError(f"categories {list(expected)} are needed; -1 stands for an empty slot")
        indices = indices.unsqueeze(1).expand(expected) if indices.shape == (batch, self.inputs.slots) else indices
        if indices.shape != expected or indices.dtype != torch.int64:
            got = f"{indices.dtype} {list(indices.shape)}"
            raise ValueError(f"categories must be torch.int64 {list(expected)}, not {got}")
        outside = (indices < -1) | (indices >= self.inputs.categories)
        if bool(outside.any()):
            found = indices[outside][0].item()
            raise ValueError(f"categories go from -1 (empty) to {self.inputs.categories - 1}; found {found!r}")
        return self.category_embedding(torch.where(indices == -1, self.inputs.categories, indices))

    def _logits(self, lstm_out: Tensor, state: Tensor, embedded: Tensor | None) -> dict[str, Tensor]:
        slots = self._slot_features(state, embedded) if self.contexts.conditioned else None
        return {
            name: head(lstm_out, slots) if isinstance(head, ConditionedHead) else head(lstm_out)
            for name, head in self.heads.items()
        }

    def _slot_features(self, state: Tensor, embedded: Tensor | None) -> Tensor:
        """Return what conditioned heads read of each slot, [..., K, features]: its number, category and observation."""
        slot_head = self.action_space.slot_head
        number = 0 if slot_head is None else self.action_space.sizes[slot_head]
        one_hot = torch.eye(number, dtype=state.dtype, device=state.device)
        parts = [one_hot.expand(*state.shape[:-1], number, number)]
        if embedded is not None and number:
            parts.append(embedded)
            observed = state[..., self.inputs.features - number * self.inputs.slot_features :]
            parts.append(observed.unflatten(-1, (number, self.inputs.slot_features)))
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
        if self.config.value_mode == "op_expected_q":
            return self._expected_q(run)
        if self.config.value_mode == "op_q" and op is not None:
            return self._q(run.lstm_out, op)
        return self.critic(run.lstm_out).squeeze(-1).float()

    def _q(self, lstm_out: Tensor, op: Tensor) -> Tensor:
        """Return Q(s, o), [...] for features [..., N] and operations [...]."""
        one_hot = nn.functional.one_hot(op, self.action_space.num_ops).to(lstm_out.dtype)
        return self.critic(torch.cat([lstm_out, one_hot], dim=-1)).squeeze(-1).float()

    def _expected_q(self, run: _Pass) -> Tensor:
        """Return the sum over o of pi(o) Q(s, o), [B, T]; pi is fixed, as the critic's loss must not move the actor."""
        number = self.action_space.num_ops
        every = torch.arange(number, device=run.lstm_out.device).expand(*run.lstm_out.shape[:-1], number)
        features = run.lstm_out.unsqueeze(-2).expand(*every.shape, self.config.hidden_dim)
        return (run.distribution.op_probabilities.detach() * self._q(features, every)).sum(-1)


@contextmanager
def _weights_stay_trainable() -> Generator[None]:
    """Keep autocast from remembering weights that were rounded without a graph.

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
