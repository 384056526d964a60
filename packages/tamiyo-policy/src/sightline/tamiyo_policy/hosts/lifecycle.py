"""What happens to seeds: the gates between stages, the operations of an action, and the passing of an epoch.

Pure functions on `SlotStates`: none of them changes its arguments. An environment step is `apply_operations`, `tick`,
an epoch of training, then `record_gradients` and `record_measurements`. The module does not know the host, the reward
or the policy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.alpha import advance_ramps, begin_ramp
from sightline.tamiyo_policy.hosts.config import LifecycleConfig
from sightline.tamiyo_policy.hosts.operations import AlphaCurve, Op, Style
from sightline.tamiyo_policy.hosts.slots import AlphaMode, Operator, SlotStates, Stage

# Columns of an action tensor [E, 8], in the order of `growth_action_space`.
SLOT, BLUEPRINT, STYLE, TEMPO, ALPHA_TARGET, ALPHA_SPEED, ALPHA_CURVE, OP = range(8)

_STYLES = {
    Style.LINEAR_ADD: (AlphaCurve.LINEAR, Operator.ADD),
    Style.LINEAR_MULTIPLY: (AlphaCurve.LINEAR, Operator.MULTIPLY),
    Style.SIGMOID_ADD: (AlphaCurve.SIGMOID, Operator.ADD),
    Style.GATED_GATE: (AlphaCurve.SIGMOID, Operator.GATE),
}
_STYLE_CURVES = torch.tensor([int(_STYLES[style][0]) for style in Style])
_STYLE_OPERATORS = torch.tensor([int(_STYLES[style][1]) for style in Style])
_RATIO_DECAY, _RATIO_CAP = 0.9, 10.0
_VELOCITY_DECAY = 0.7


class AppliedOperations(NamedTuple):
    """What an action did."""

    states: SlotStates
    """[E, K] after the operations."""
    effective_op: Tensor
    """int64 [E], the operation that was executed; WAIT where the wanted one was impossible."""
    success: Tensor
    """bool [E], whether the wanted operation was executed."""
    germinated: Tensor
    """bool [E, K], slots that hold a seed since this action: their optimiser state must be cleared."""
    fossilized: Tensor
    """bool [E, K], slots that became permanent with this action."""


class GradientReading(NamedTuple):
    """Gradients of the seeds in one epoch, all [E, K]."""

    norm: Tensor
    """float32, of a seed's parameters; may be infinite or NaN."""
    ratio: Tensor
    """float32, of seed to host, from `gradient_ratio`."""
    measured: Tensor
    """bool, whether the seed had a gradient in this epoch."""


def gradient_ratio(
    seed_norm: Tensor, host_norm: Tensor, seed_parameters: Tensor, host_parameters: Tensor | float, previous: Tensor
) -> Tensor:
    """Return the moving average of a seed's gradient against its host's, per root of their sizes.

    (|g_seed| / |g_host|) sqrt(P_host / P_seed), at most 10; 0.9 of the previous value and 0.1 of the present one.

    Args:
        seed_norm: float [E, K].
        host_norm: float that broadcasts to [E, K].
        seed_parameters: [E, K], numbers of parameters.
        host_parameters: numbers that broadcast to [E, K].
        previous: float [E, K], the average so far.

    Returns:
        float [E, K] in [0, 10]; a value that is not finite counts as the cap.
    """
    size = torch.sqrt(host_parameters / seed_parameters.clamp(min=1))
    ratio = (seed_norm / host_norm.clamp(min=1e-12) * size).nan_to_num(nan=_RATIO_CAP, posinf=_RATIO_CAP)
    return _RATIO_DECAY * previous + (1 - _RATIO_DECAY) * ratio.clamp(max=_RATIO_CAP)


def open_gates(states: SlotStates, config: LifecycleConfig) -> Tensor:
    """Return bool [E, K]: whether the gate to the next stage is open for a seed; False where there is none.

    G1 to TRAINING, G2 to BLENDING, G3 to HOLDING and G5 to FOSSILIZED. The gate of germination (G0) asks for an empty
    slot and a blueprint; `legal_slots` and `apply_operations` see to that.
    """
    healthy = (states.health >= config.min_gradient_health) & ~states.exploding
    trained = (states.epochs_in_stage >= config.min_training_epochs) & healthy
    blended = (states.alpha_mode == AlphaMode.HOLD) & ~states.prune_pending
    blended = blended & (states.alpha_target == 1.0) & (states.alpha == 1.0)
    proven = (states.contribution_age >= 0) & healthy
    if config.gates == "strict":
        trained = trained & (states.progress >= config.min_progress)
        trained = trained & (states.gradient_ratio >= config.min_gradient_ratio)
        blended = blended & (states.epochs_in_stage >= config.min_blending_epochs)
        proven = proven & (states.contribution >= config.min_contribution)
    return (
        states.in_stage(Stage.GERMINATED)
        | (states.in_stage(Stage.TRAINING) & trained)
        | (states.in_stage(Stage.BLENDING) & blended)
        | (states.in_stage(Stage.HOLDING) & proven)
    )


def legal_slots(states: SlotStates, config: LifecycleConfig) -> Tensor:
    """Return bool [E, ops, K]: which slots each operation may be applied to; WAIT may name any slot.

    Seeds are developed one after the other: GERMINATE is illegal while another seed is GERMINATED, TRAINING or cooling
    down. ADVANCE and FOSSILIZE look at the stage alone unless `mask_closed_gates`, so a closed gate turns them to WAIT.
    """
    still = (states.alpha_mode == AlphaMode.HOLD) & ~states.prune_pending
    growing = states.in_stage(Stage.GERMINATED, Stage.TRAINING, Stage.PRUNED, Stage.EMBARGOED, Stage.RESETTING)
    full = states.occupied.sum(1) >= (states.stage.shape[1] if config.max_seeds is None else config.max_seeds)
    open_gate = open_gates(states, config)
    advance = states.in_stage(*_advanced_by_hand(config))
    fossilize = states.in_stage(Stage.HOLDING)
    if config.mask_closed_gates:
        advance, fossilize = advance & open_gate, fossilize & open_gate
    prunable = states.in_stage(Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING)
    rows = {
        Op.WAIT: torch.ones_like(still),
        Op.GERMINATE: states.in_stage(Stage.DORMANT) & ~(growing.any(1) | full)[:, None],
        Op.SET_ALPHA_TARGET: states.in_stage(Stage.BLENDING, Stage.HOLDING) & still,
        Op.PRUNE: prunable & still & (states.age >= config.min_prune_age),
        Op.FOSSILIZE: fossilize,
        Op.ADVANCE: advance,
    }
    return torch.stack([rows[op] for op in Op], 1)


def apply_operations(
    states: SlotStates,
    actions: Tensor,
    config: LifecycleConfig,
    *,
    selectable_blueprints: Tensor,
    accuracy: Tensor,
    gain: Tensor,
    permitted: Tensor | None = None,
) -> AppliedOperations:
    """Execute one action in every environment; an impossible one is executed as WAIT.

    Args:
        states: [E, K].
        actions: int64 [E, 8], columns in the order of `growth_action_space`.
        config: the constants.
        selectable_blueprints: bool [blueprints] or [E, blueprints], what GERMINATE may put into a slot.
        accuracy: float [E], of the host before the action, in percent.
        gain: float [E], accuracy minus accuracy without any seed before the action, in points.
        permitted: bool [E], from `governor.preflight`; None permits all.

    Raises:
        RuntimeError: an action names a slot that does not exist.
    """
    op, slot, selectable = actions[:, OP], actions[:, SLOT], selectable_blueprints.expand(len(actions), -1)
    chosen = torch.nn.functional.one_hot(slot, states.stage.shape[1]).bool()
    possible = legal_slots(states, config)[torch.arange(len(op), device=op.device), op] & chosen
    needs_gate = (op == Op.ADVANCE) | (op == Op.FOSSILIZE)
    possible &= open_gates(states, config) | ~needs_gate[:, None]
    possible &= selectable.gather(1, actions[:, BLUEPRINT, None]) | (op != Op.GERMINATE)[:, None]
    if permitted is not None:
        possible &= permitted[:, None]
    effective = torch.where(possible.any(1), op, int(Op.WAIT))
    at = {kind: possible & (effective == kind)[:, None] for kind in Op}
    after = states
    after = _germinate(after, at[Op.GERMINATE], actions, config, accuracy, gain)
    after = _retarget(after, at[Op.SET_ALPHA_TARGET], actions, config)
    after = _prune(after, at[Op.PRUNE], actions, config)
    after = after.enter(at[Op.FOSSILIZE], Stage.FOSSILIZED)
    after = _advance(after, at[Op.ADVANCE])
    after = replace(after, alpha_velocity=after.alpha - states.alpha)
    return AppliedOperations(after, effective, effective == op, at[Op.GERMINATE], at[Op.FOSSILIZE])


def tick(states: SlotStates, config: LifecycleConfig) -> SlotStates:
    """Let one epoch pass: cooldowns, ramps, prunes that have faded out, automatic gates, and ages.

    A removed seed's slot is seen one epoch in PRUNED, `embargo_epochs` in EMBARGOED and one in RESETTING.
    """
    waited = states.epochs_in_stage
    over = states.in_stage(Stage.RESETTING) & (waited >= 1)
    lifted = states.in_stage(Stage.EMBARGOED) & (waited >= config.embargo_epochs)
    cooled = states.in_stage(Stage.PRUNED) & (waited >= 1)
    after = states.enter(over, Stage.DORMANT).enter(lifted, Stage.RESETTING).enter(cooled, Stage.EMBARGOED)
    opened = open_gates(states, config) & (waited >= 1) & states.in_stage(*_advanced_by_itself(config))
    after = advance_ramps(_advance(after, opened))
    after = replace(after, alpha_velocity=states.alpha_velocity + after.alpha - states.alpha)
    after = remove(after, after.prune_pending & (after.alpha_mode == AlphaMode.HOLD))
    measured = after.contribution_age >= 0
    return replace(
        after,
        age=after.age + after.occupied,
        epochs_in_stage=after.epochs_in_stage + ~after.in_stage(Stage.DORMANT),
        contribution_age=after.contribution_age + measured,
    )


def remove(states: SlotStates, at: Tensor) -> SlotStates:
    """Return the states without the seeds in some slots, which begin to cool down. Fossils cannot be removed.

    Args:
        states: [E, K].
        at: bool [E, K], where.

    Raises:
        ValueError: a slot is empty, cooling down or fossilised.
    """
    if not bool(at.any()):
        return states
    entered = states.enter(at, Stage.PRUNED)
    velocity = states.alpha_velocity - states.alpha
    return entered.clear(at).update(at, stage=Stage.PRUNED, alpha_velocity=velocity)


def record_gradients(states: SlotStates, reading: GradientReading) -> SlotStates:
    """Take in the gradients of an epoch.

    Health is 1 for a usable gradient, 0.5 for a vanishing one (norm below 1e-6) and 0 for an exploding one (norm above
    100 or not finite).
    """
    exploding = ~(reading.norm <= 100.0)
    vanishing = reading.norm < 1e-6
    return states.update(
        reading.measured & states.occupied,
        gradient_norm=reading.norm,
        gradient_ratio=reading.ratio,
        previous_health=states.health,
        health=1.0 - 0.5 * vanishing.float() - exploding.float(),
        vanishing=vanishing,
        exploding=exploding,
    )


def record_measurements(
    states: SlotStates, *, accuracy: Tensor, gain: Tensor, contribution: Tensor, interaction: Tensor, measured: Tensor
) -> SlotStates:
    """Take in the validation of an epoch.

    The velocity keeps 0.7 of itself and takes 0.3 of the change of contribution, from the second measurement on.

    Args:
        states: [E, K].
        accuracy: float [E], in percent.
        gain: float [E], accuracy minus accuracy without any seed, in points.
        contribution: float [E, K], accuracy minus accuracy without the seed, in points.
        interaction: float [E, K], sum of the seed's pairwise interactions, in points.
        measured: bool [E, K], where `contribution` and `interaction` were measured.
    """
    change = torch.where(states.contribution_age >= 0, contribution - states.contribution, 0.0)
    states = states.update(
        states.occupied,
        progress=accuracy[:, None] - states.accuracy_at_germination,
        clean_progress=gain[:, None] - states.gain_at_germination,
    )
    return states.update(
        measured & states.occupied,
        contribution=contribution,
        interaction=interaction,
        velocity=_VELOCITY_DECAY * states.velocity + (1 - _VELOCITY_DECAY) * change,
        contribution_age=0,
    )


def _germinate(
    states: SlotStates, at: Tensor, actions: Tensor, config: LifecycleConfig, accuracy: Tensor, gain: Tensor
) -> SlotStates:
    style = actions[:, STYLE]
    return states.enter(at, Stage.GERMINATED).update(
        at,
        blueprint=actions[:, BLUEPRINT, None],
        alpha_target=_look_up(config.alpha_targets, actions[:, ALPHA_TARGET]),
        tempo_steps=_look_up(config.tempo_steps, actions[:, TEMPO]),
        curve=_STYLE_CURVES.to(style.device)[style, None],
        operator=_STYLE_OPERATORS.to(style.device)[style, None],
        accuracy_at_germination=accuracy[:, None],
        gain_at_germination=gain[:, None],
    )


def _retarget(states: SlotStates, at: Tensor, actions: Tensor, config: LifecycleConfig) -> SlotStates:
    target = _look_up(config.alpha_targets, actions[:, ALPHA_TARGET]).to(states.alpha.dtype)
    style = actions[:, STYLE]
    partial = at & states.in_stage(Stage.HOLDING) & (target < 1.0)
    states = states.enter(partial, Stage.BLENDING).update(
        at, curve=actions[:, ALPHA_CURVE, None], operator=_STYLE_OPERATORS.to(style.device)[style, None]
    )
    return begin_ramp(states, at, target=target, steps=_look_up(config.speed_steps, actions[:, ALPHA_SPEED]))


def _prune(states: SlotStates, at: Tensor, actions: Tensor, config: LifecycleConfig) -> SlotStates:
    steps = _look_up(config.speed_steps, actions[:, ALPHA_SPEED])
    blended = states.in_stage(Stage.BLENDING, Stage.HOLDING) & (states.alpha > 0)
    fading = at & blended & (steps > 0)
    states = remove(states, at & ~fading).enter(fading & states.in_stage(Stage.HOLDING), Stage.BLENDING)
    states = states.update(fading, prune_pending=True, curve=actions[:, ALPHA_CURVE, None])
    return begin_ramp(states, fading, target=0.0, steps=steps)


def _advance(states: SlotStates, at: Tensor) -> SlotStates:
    to_training = at & states.in_stage(Stage.GERMINATED)
    to_blending = at & states.in_stage(Stage.TRAINING)
    to_holding = at & states.in_stage(Stage.BLENDING)
    states = states.enter(to_training, Stage.TRAINING).enter(to_holding, Stage.HOLDING)
    states = states.enter(to_blending, Stage.BLENDING)
    return begin_ramp(states, to_blending, target=states.alpha_target, steps=states.tempo_steps)


def _look_up(choices: tuple[float, ...], index: Tensor) -> Tensor:
    """Return the chosen values, [E, 1]."""
    return torch.tensor(choices, device=index.device)[index, None]


_GATED_STAGES = {"G1": Stage.GERMINATED, "G2": Stage.TRAINING, "G3": Stage.BLENDING}


def _advanced_by_itself(config: LifecycleConfig) -> list[Stage]:
    return [stage for gate, stage in _GATED_STAGES.items() if gate in config.auto_forward]


def _advanced_by_hand(config: LifecycleConfig) -> list[Stage]:
    return [stage for gate, stage in _GATED_STAGES.items() if gate not in config.auto_forward]
