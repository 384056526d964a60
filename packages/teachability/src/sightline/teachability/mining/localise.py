"""Where an episode went wrong: the first action after which success was certainly less likely than before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.teachability.mining.records import Episode
from sightline.teachability.protocols import S
from sightline.teachability.records import Bound
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.store import ValueStore, value_key


@dataclass(frozen=True, slots=True)
class StepValues:
    """Chances of success around one action of an episode."""

    before: Bound
    """The student goes on."""
    after: Bound
    """The action it took, then the student."""


def episode_values(
    graph: ValueGraph[S], episode: Episode, *, steps: Sequence[int] | None = None, store: ValueStore | None = None
) -> list[StepValues]:
    """Return the values along an episode, from one graph.

    Args:
        graph: the student's values.
        episode: what was played.
        steps: positions that are wanted; default all.
        store: bounds that were found before, and where new ones go.
    """
    chosen = range(len(episode.steps)) if steps is None else steps
    how = f"tolerance {graph.tolerance}, prompts {graph.max_prompts}"
    values = []
    for position in chosen:
        step = episode.steps[position]
        keys = [
            value_key(graph.policy.fingerprint, step.state_bytes, action=action, how=how)
            for action in (None, step.action)
        ]
        before, after = [store.get(key) for key in keys] if store else [None, None]
        if before is None or after is None:
            state = graph.dynamics.decode(step.state_bytes)
            spent = graph.refine([(state, None), (state, step.action)])
            before = graph.bound(state, prompts=spent)
            after = graph.action_bounds(state, prompts=spent)[step.action]
            if store:
                for key, bound in zip(keys, (before, after), strict=True):
                    store.put(key, bound, policy=graph.policy.fingerprint)
        values.append(StepValues(before, after))
    return values


def first_drop(values: Sequence[StepValues], *, drop: float = 0.05) -> int | None:
    """Return the first step whose action certainly lowered the chance of success by `drop` or more.

    Returns:
        None where no step certainly did: the chance was low from the beginning, or the bounds are too wide.
    """
    for position, step in enumerate(values):
        if step.before.low - step.after.high >= drop:
            return position
    return None
