"""Plans in a copy of the present episode, by tree search; the plan is then followed once in the episode itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.agents.grammar import TaskGrammar
from sightline.agents.planning.environments.model import AgentPolicy, EnvironmentModel
from sightline.agents.planning.environments.rewards import Rewards
from sightline.agents.planning.environments.world import (
    EnvironmentWorld,
    InformedEnvironment,
    WithheldReward,
)
from sightline.agents.planning.tree.search import Search
from sightline.agents.planning.worlds.model import Plan
from sightline.agents.protocols import Agent
from sightline.agents.records import Event


@dataclass(frozen=True, slots=True)
class TextPlan:
    """What a search found, and what it cost."""

    actions: tuple[str, ...]
    """Actions in order from where the search began."""
    value: float
    """What they earn: truly where the rewards were the oracle's, else by the reward model."""
    own_value: float | None
    """What the actor's own way earns, likewise; None where it finds no end."""
    is_own: bool
    """Whether the actor's own way was kept."""
    is_oracle: bool
    """Whether the environment's rewards were used."""
    simulations: int
    """Number of simulations of the search."""
    exhausted: bool
    """Whether no better plan exists among the actions considered."""
    steps: int
    """Steps taken in the environment for it."""
    policy_calls: int
    """Times the actor was asked, each about a batch of pages."""


def plan(
    env: InformedEnvironment,
    actor: Agent,
    grammar: TaskGrammar,
    *,
    simulations: int = 256,
    rewards: Rewards,
    margin: float = 0.0,
    leaves_per_step: int = 8,
    events: tuple[Event, ...] = (),
    seed: int = 0,
) -> TextPlan:
    """Search for the best way on from where an environment stands, and put it back there.

    Args:
        env: a deterministic environment.
        actor: proposes actions, and says by its own way on what a page is worth.
        grammar: what pages, actions and purchases look like.
        simulations: number of simulations of the search.
        rewards: `OracleReward()` for an upper bound, or a `RewardModel`: then the environment's rewards are withheld
            from all that searches.
        margin: how much more than the actor's own way another must be worth to be taken.
        leaves_per_step: pages that the actor is asked about together.
        events: what happened before the present page.
        seed: seed of the search.

    Raises:
        ValueError: the episode is over, or the search's settings make no sense.
    """
    start = env.snapshot()
    world = EnvironmentWorld(env if rewards.is_oracle else WithheldReward(env), grammar)
    try:
        model = EnvironmentModel(world, AgentPolicy(actor), rewards)
        return search_plan(
            model,
            world.root(events),
            simulations=simulations,
            margin=margin,
            leaves_per_step=leaves_per_step,
            seed=seed,
        )
    finally:
        env.restore(start)


def search_plan(
    model: EnvironmentModel,
    root: Any,
    *,
    simulations: int,
    margin: float = 0.0,
    leaves_per_step: int = 8,
    seed: int = 0,
) -> TextPlan:
    """Search for the best way on from a state; see `plan`.

    Args:
        model: the world, the policy and the rewards.
        root: a state of the world.
        simulations: number of simulations of the search.
        margin: margin of `plan`.
        leaves_per_step: pages that the actor is asked about together.
        seed: seed of the search.
    """
    steps, calls = model.world.steps, model.policy_calls
    search = Search(simulations=simulations, leaves_per_step=leaves_per_step, seed=seed, fpu="parent")
    result = search.run(model, [root], executor="scalar")
    own = model.judge([root])[0][1]
    best = result.plans[0]
    if own is not None and (best is None or best.value <= own.value + margin):
        best = own
    if best is None:
        best = Plan((int(result.action[0]),), float(result.value[0]))
    return TextPlan(
        actions=action_texts(model, root, best.actions),
        value=best.value,
        own_value=own.value if own is not None else None,
        is_own=best is own,
        is_oracle=model.rewards.is_oracle,
        simulations=int(result.simulations[0]),
        exhausted=bool(result.exhausted[0]),
        steps=model.world.steps - steps,
        policy_calls=model.policy_calls - calls,
    )


def action_texts(model: EnvironmentModel, root: Any, indices: tuple[int, ...]) -> tuple[str, ...]:
    """Return the actions that indices stand for, from a state on."""
    texts = []
    for index in indices:
        texts.append(model.actions(root)[index])
        root = model.take([(root, index)])[0].state
    return tuple(texts)
