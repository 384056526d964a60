"""Everything that can act in an episode of growth: a trained policy, chance, and rules.

Each function gives a `Method`, which begins a stack of episodes with a fresh memory. Rules see what the learner sees,
and the gates; none of them sees a host's family. Knows nothing about how methods are judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.experiment.evaluation import Act, GrowthSituation, Method
from sightline.tamiyo_policy.experiment.records import Episode
from sightline.tamiyo_policy.growth.action_space import waiting
from sightline.tamiyo_policy.growth.config import HeuristicConfig
from sightline.tamiyo_policy.growth.heuristic import HeuristicMemory, heuristic_actions, random_legal_actions
from sightline.tamiyo_policy.growth.topologies import Topology
from sightline.tamiyo_policy.hosts.config import LifecycleConfig
from sightline.tamiyo_policy.hosts.lifecycle import open_gates
from sightline.tamiyo_policy.hosts.operations import NOOP, AlphaTarget, Op, Tempo
from sightline.tamiyo_policy.hosts.slots import Stage
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.records import PolicyInput
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy


def no_growth(space: FactoredActionSpace) -> Method:
    """Wait from the first step to the last."""

    def begin(episodes: Sequence[Episode]) -> Act:
        actions = waiting(len(episodes), space)
        return lambda _: actions

    return begin


def random_legal(space: FactoredActionSpace, *, seed: int) -> Method:
    """Return a method that draws legal operations, see `random_legal_actions`.

    Args:
        space: the eight heads.
        seed: seed of the choices, together with the seed of a stack's first episode.
    """

    def begin(episodes: Sequence[Episode]) -> Act:
        generator = _generator(seed, episodes)
        return lambda situation: random_legal_actions(situation.observation.masks, space, generator)

    return begin


def heuristic(space: FactoredActionSpace, config: HeuristicConfig, lifecycle: LifecycleConfig) -> Method:
    """Return the careful gardener as a method, see `heuristic_actions`."""

    def begin(episodes: Sequence[Episode]) -> Act:
        memory = HeuristicMemory.start(len(episodes), config)

        def act(situation: GrowthSituation) -> Tensor:
            nonlocal memory
            actions, memory = heuristic_actions(
                memory,
                situation.slots,
                situation.signals,
                situation.observation.masks,
                space,
                config=config,
                lifecycle=lifecycle,
            )
            return actions

        return act

    return begin


def fixed_schedule(
    space: FactoredActionSpace, lifecycle: LifecycleConfig, topology: Topology, *, plateau_epochs: int = 3
) -> Method:
    """Grow one topology, slot by slot, whenever the host is stable and on a plateau; keep whatever was grown.

    Args:
        space: the eight heads.
        lifecycle: the rules in force.
        topology: K blueprint ids, 0 for none.
        plateau_epochs: validations in a row without progress that ask for the next seed.
    """
    wanted = torch.tensor(topology)

    def begin(_: Sequence[Episode]) -> Act:
        def act(situation: GrowthSituation) -> Tensor:
            ready = (situation.signals.steady_epochs >= plateau_epochs) & situation.signals.stabilized
            where = ready[:, None] & (wanted != NOOP) & situation.slots.in_stage(Stage.DORMANT)
            blueprint = wanted.expand(len(ready), -1)
            return _tend(situation, space, lifecycle, where, blueprint, keep_above=float("-inf"))

        return act

    return begin


def greedy_counterfactual(
    space: FactoredActionSpace, lifecycle: LifecycleConfig, rotation: Sequence[int], *, keep_above: float
) -> Method:
    """Try one blueprint after another in the first empty slot, without waiting, and keep those that contribute.

    Args:
        space: the eight heads.
        lifecycle: the rules in force.
        rotation: blueprint ids, tried in this order and then from the beginning.
        keep_above: contribution in points above which a held seed becomes permanent; others are pruned.
    """
    order = torch.tensor(tuple(rotation))

    def begin(episodes: Sequence[Episode]) -> Act:
        tried = torch.zeros(len(episodes), dtype=torch.int64)

        def act(situation: GrowthSituation) -> Tensor:
            nonlocal tried
            empty = situation.slots.in_stage(Stage.DORMANT)
            blueprint = order[tried % len(order), None].expand(-1, empty.shape[1])
            actions = _tend(situation, space, lifecycle, empty, blueprint, keep_above=keep_above)
            tried = tried + (actions[:, space.names.index("op")] == Op.GERMINATE)
            return actions

        return act

    return begin


def learned(policy: TrainedPolicy, *, deterministic: bool, seed: int) -> Method:
    """Return a trained policy.

    Args:
        policy: network and scale of observations; left as they are.
        deterministic: the most probable choice of every head; else one drawn at random.
        seed: seed of the draws, together with the seed of a stack's first episode.
    """
    device = policy.device

    def begin(episodes: Sequence[Episode]) -> Act:
        generator = _generator(seed, episodes, device)
        hidden = policy.network.initial_hidden(len(episodes))

        def act(situation: GrowthSituation) -> Tensor:
            nonlocal hidden
            seen = situation.observation
            output = policy.act(
                PolicyInput(
                    states=seen.features.to(device),
                    categories=seen.blueprint_indices.to(device),
                    masks={name: mask.to(device) for name, mask in seen.masks.items()},
                ),
                hidden,
                episode_starts=situation.restarted.to(device),
                deterministic=deterministic,
                generator=generator,
            )
            hidden = output.hidden
            return output.actions.cpu()

        return act

    return begin


def _tend(
    situation: GrowthSituation,
    space: FactoredActionSpace,
    lifecycle: LifecycleConfig,
    plantable: Tensor,
    blueprint: Tensor,
    *,
    keep_above: float,
) -> Tensor:
    """Return one legal action in every episode: judge what is held, advance what is ready, plant, or wait.

    Args:
        situation: E episodes.
        space: the eight heads.
        lifecycle: the rules in force.
        plantable: bool [E, K], slots in which a seed is wanted.
        blueprint: int64 [E, K], which seed.
        keep_above: contribution in points above which a held seed becomes permanent.

    Returns:
        int64 [E, 8].
    """
    slots, masks = situation.slots, situation.observation.masks
    held = slots.in_stage(Stage.HOLDING) & (slots.contribution_age >= 0)
    worthy = slots.contribution > keep_above
    gates = open_gates(slots, lifecycle)
    wanted = {
        Op.GERMINATE: plantable,
        Op.ADVANCE: gates & ~slots.in_stage(Stage.HOLDING),
        Op.PRUNE: held & ~worthy,
        Op.FOSSILIZE: held & worthy & gates,
    }
    op = torch.full((len(held),), int(Op.WAIT))
    slot = torch.zeros_like(op)
    for kind, where in wanted.items():  # the most urgent last
        possible = where & masks["slot_by_op"][:, kind]
        chosen = possible.any(1) & masks["op"][:, kind]
        op = torch.where(chosen, int(kind), op)
        slot = torch.where(chosen, possible.int().argmax(1), slot)
    planted = blueprint.gather(1, slot[:, None])[:, 0]
    chosen_heads = space.by_name(space.placeholder.expand(len(op), -1)) | {"op": op, "slot": slot}
    germinates = op == Op.GERMINATE
    for name, choice in {"blueprint": planted, "tempo": Tempo.FAST, "alpha_target": AlphaTarget.FULL}.items():
        chosen_heads[name] = torch.where(germinates, torch.as_tensor(choice), chosen_heads[name])
    return space.columns(chosen_heads)


def _generator(seed: int, episodes: Sequence[Episode], device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of a stack's draws, the same whatever was played before."""
    (state,) = np.random.SeedSequence([seed, episodes[0].seed]).generate_state(1)
    return torch.Generator(device).manual_seed(int(state))
