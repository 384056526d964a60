"""Chooses moments of episodes as snapshots. Knows nothing of labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from sightline.teachability.mining.localise import episode_values, first_drop
from sightline.teachability.mining.records import Episode
from sightline.teachability.protocols import S
from sightline.teachability.records import Outcome, Snapshot, snapshot_id
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.store import ValueStore

STRATEGIES = ("first_drop", "before_end:K", "uniform", "expert_path", "retention")


def mine_failures(
    episodes: Sequence[Episode],
    strategy: str = "first_drop",
    *,
    values: ValueGraph[S] | Callable[[Episode], ValueGraph[S]] | None = None,
    seed: int = 0,
    per_task: int | None = None,
    store: ValueStore | None = None,
) -> list[Snapshot]:
    """Choose at most one moment of each episode that fits the strategy.

    Args:
        episodes: what was played. Those with outcome `error` are never mined.
        strategy: `first_drop` (of failures, the first action that certainly lowered the chance of success; episodes
            without one are left out), `before_end:K` (of failures, K steps before the last), `uniform` (of
            failures, any step), `retention` (of successes, any step: controls, and what must not be forgotten) or
            `expert_path` (any step of any episode, such as a teacher's).
        values: values for `first_drop`, the student's, or a function that gives the graph of an episode's task.
        seed: seed of which step is any step.
        per_task: most snapshots of a task; default all.
        store: bounds that were found before, for `first_drop`.

    Returns:
        Distinct snapshots, in the order of the episodes.

    Raises:
        ValueError: there is no such strategy, or it lacks values.
    """
    name, _, argument = strategy.partition(":")
    if name not in {one.partition(":")[0] for one in STRATEGIES} or (name == "before_end") != argument.isdigit():
        raise ValueError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if name == "first_drop" and values is None:
        raise ValueError("strategy 'first_drop' needs values: the ValueGraph of the student")
    wanted = {"retention": ("success",), "expert_path": ("success", "failure")}.get(name, ("failure",))
    found: dict[str, Snapshot] = {}
    per: Counter[int] = Counter()
    for episode in episodes:
        if episode.outcome not in wanted or not episode.steps or (per_task and per[episode.task] >= per_task):
            continue
        if name == "first_drop" and values is not None:
            graph = values if isinstance(values, ValueGraph) else values(episode)
            position = first_drop(episode_values(graph, episode, store=store))
        elif name == "before_end":
            position = max(len(episode.steps) - 1 - int(argument), 0)
        else:
            position = _any_step(episode, seed)
        if position is None:
            continue
        snapshot = take_snapshot(episode, position, mined_by=strategy)
        per[episode.task] += snapshot.id not in found
        found.setdefault(snapshot.id, snapshot)
    return list(found.values())


def take_snapshot(episode: Episode, position: int, *, mined_by: str) -> Snapshot:
    """Return a step of an episode as a snapshot."""
    step = episode.steps[position]
    outcome: Outcome = episode.outcome
    return Snapshot(
        id=snapshot_id(step.state_bytes),
        task=episode.task,
        group=episode.group,
        trajectory_id=episode.id,
        step=position,
        state=step.state,
        instruction=episode.instruction,
        observation=step.observation,
        actions=step.actions,
        kind=step.kind,
        taken=step.action,
        reward_at_end=episode.reward,
        outcome=outcome,
        mined_by=mined_by,
        before_end=len(episode.steps) - position,
    )


def _any_step(episode: Episode, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}\x1f{episode.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * len(episode.steps) >> 64
