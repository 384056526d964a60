"""What one action, or the teacher in control, would change. Knows nothing of quadrants or of teaching texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.ledger import Ledger
from sightline.teachability.protocols import Dynamics, S, Teacher, guarded_step
from sightline.teachability.records import Bound, FirstOrder, PairCounts, ValueLabels
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.sampling import SIZES, Noise, decide_difference, narrow_value


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a state."""

    teacher: str
    """The teacher's action."""
    taken: str
    """What the student did."""
    threshold: float
    """Level of L_local that a decision is about."""
    audit: bool = False
    """Sample the largest number of pairs even where the graph suffices."""
    most_pairs: int = SIZES[-1]
    """Largest number of pairs."""


def measure_values(
    graph: ValueGraph[S], state: S, question: Question, noise: Noise, *, expert: Bound | None = None
) -> ValueLabels:
    """Return the chances of success around a state.

    The graph is refined for V and the two actions; where its interval of L_local still straddles the threshold,
    coupled episodes are played, 4 at first and doubled while they do not decide, and as many from the graph's frontier
    narrow the single values.

    Args:
        graph: the student's values.
        state: where the actions are taken; at least one step must be left.
        question: what is asked.
        noise: source of sampled episodes.
        expert: chance of success with the teacher in control, None where it is not known.
    """
    teacher, taken = question.teacher, question.taken
    spent = graph.refine([(state, None), (state, teacher), (state, taken)])
    actions = graph.dynamics.actions(state)
    probabilities = graph.node(state).probabilities
    q = graph.action_bounds(state, prompts=spent)
    value = graph.bound(state, prompts=spent)
    lead = advantage(actions, probabilities, q, teacher)
    pairs: PairCounts | None = None
    wide = max(value.gap, q[teacher].gap) > graph.tolerance and lead.low < question.threshold <= lead.high
    if wide or question.audit:
        allowed = tuple(size for size in SIZES if size <= question.most_pairs)
        sizes = allowed[-1:] if question.audit else allowed
        pairs, sampled = decide_difference(
            graph,
            state,
            teacher,
            noise,
            decided=lambda bound: not (bound.low < question.threshold <= bound.high),
            sizes=sizes,
        )
        if wide:
            lead = clip(sampled, lead)
            value = narrow_value(graph, state, None, noise, rollouts=pairs.pairs)
            # In this order: what is met first settles which of equally likely states is looked at next.
            for action in dict.fromkeys((teacher, taken)):
                q[action] = narrow_value(graph, state, action, noise, rollouts=pairs.pairs)
    return ValueLabels(
        V=value,
        V_reward=graph.bound(state, reward=True, prompts=spent),
        Q_teacher=q[teacher],
        Q_taken=q[taken],
        Q=tuple(q[action] for action in actions),
        V_expert=expert,
        L_local=lead,
        L_taken=advantage(actions, probabilities, q, taken),
        steps_left=graph.dynamics.steps_left(state),
        pairs=pairs,
    )


def advantage(actions: Sequence[str], probabilities: NDArray[np.float64], q: Mapping[str, Bound], action: str) -> Bound:
    """Return Q(a) - V as (1 - pi(a)) Q(a) - sum over the others of pi(b) Q(b): V contains Q(a), so this is tighter."""
    low = high = estimate = 0.0
    mixed = rollouts = 0
    for name, probability in zip(actions, probabilities.tolist(), strict=True):
        bound = q[name]
        weight = (1 - probability) if name == action else -probability
        ends = (weight * bound.low, weight * bound.high)
        low, high, estimate = low + min(ends), high + max(ends), estimate + weight * bound.estimate
        mixed += bound.method in ("mixed", "sampled")
        rollouts += bound.rollouts
    return Bound(low=low, high=high, estimate=estimate, method="mixed" if mixed else "graph", rollouts=rollouts)


def clip(sampled: Bound, certain: Bound) -> Bound:
    """Return a sampled interval as far as it lies in the certain one."""

    def inside(number: float) -> float:
        return min(max(number, certain.low), certain.high)

    return sampled.model_copy(
        update={
            "low": inside(sampled.low),
            "high": inside(sampled.high),
            "estimate": inside(sampled.estimate),
            "method": "mixed",
        }
    )


def first_order(probabilities: NDArray[np.float64], q: Sequence[Bound], teacher: int) -> FirstOrder:
    """Return the gain of an infinitesimal step towards the teacher's action, at the bounds' estimates.

    Raising the logit of a* alone by d changes V by d pi(a*) A(a*); a supervised step of a tabular softmax policy adds
    eta (e_a* - pi) to the logits, which changes V by eta (pi(a*) A(a*) - sum_a pi(a)^2 A(a)).
    """
    estimates = np.array([bound.estimate for bound in q])
    advantages = estimates - float(probabilities @ estimates)
    logit = float(probabilities[teacher] * advantages[teacher])
    return FirstOrder(logit=logit, supervised=logit - float((probabilities**2) @ advantages))


def play_out(
    dynamics: Dynamics[S], teacher: Teacher[S], states: Sequence[S], *, ledger: Ledger | None = None
) -> list[Bound]:
    """Return the chance of success with the teacher in control from each state; it acts without chance, so 0 or 1."""
    ledger = ledger or Ledger()
    won = [False] * len(states)
    live = [(index, state) for index, state in enumerate(states) if dynamics.steps_left(state) > 0]
    while live:
        actions = teacher.act([state for _, state in live])
        ledger.teacher_calls += len(live)
        ledger.environment_steps += len(live)
        following = []
        for (index, state), action in zip(live, actions, strict=True):
            end = guarded_step(dynamics, state, action)
            won[index] = end.success
            if not end.ended and dynamics.steps_left(end.state) > 0:
                following.append((index, end.state))
        live = following
    return [Bound(low=worth, high=worth, estimate=worth, method="played") for worth in map(float, won)]
