"""Sampled episodes where the graph is too large, with noise that all arms of a comparison share.

Noise is a function of seed, snapshot, rollout, step and the action's own text (Gumbel-max, so a sampled action has
exactly the policy's probability); arms that meet the same state with the same distribution therefore act alike, and
equal arms differ by exactly nothing. This module knows nothing of labels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.protocols import S, guarded_step
from sightline.teachability.records import Bound, PairCounts
from sightline.teachability.statistics import beta_quantile
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.horizon import arrivals

SIZES = (4, 8, 16, 32, 64)
"""Rollouts after which a decision is looked for."""

_UNIT = 2.0**-64
_POSTERIOR_DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Noise:
    """Where the noise of a rollout comes from."""

    seed: int
    """Seed of all noise."""
    place: str
    """What the rollouts belong to, such as a snapshot's id; arms share it."""

    def uniform(self, rollout: int, step: int, label: str) -> float:
        """Return a number in (0, 1) for a label at a step of a rollout."""
        key = f"{self.seed}\x1f{self.place}\x1f{rollout}\x1f{step}\x1f{label}"
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return (int.from_bytes(digest, "big") + 0.5) * _UNIT

    def pick(self, rollout: int, step: int, actions: Sequence[str], probabilities: NDArray[np.float64]) -> int:
        """Return the position of a sampled action: argmax of ln pi(a) + g_a, g = -ln(-ln u)."""
        best, chosen = -math.inf, -1
        for position, (action, probability) in enumerate(zip(actions, probabilities.tolist(), strict=True)):
            if probability > 0:
                # u can round to 1, where ln u is 0: the smallest step below keeps the noise finite.
                u = min(self.uniform(rollout, step, action), 1 - 1e-16)
                score = math.log(probability) - math.log(-math.log(u))
                if score > best:
                    best, chosen = score, position
        return chosen


@dataclass(frozen=True, slots=True)
class Start(Generic[S]):
    """Where a rollout begins."""

    state: S
    """A timeless state."""
    left: int
    """Steps left."""
    rollout: int
    """Number of the rollout; the same in all arms."""
    first: str | None = None
    """An action that is taken first whatever the policy says, None for none."""
    clock: int = 0
    """Steps of the rollout before this one, for the noise."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the rollouts of an arm came to."""

    noise: Noise
    """What they drew from."""
    success: tuple[bool, ...]
    """One per rollout, in order."""


def roll_out(graph: ValueGraph[S], starts: Sequence[Start[S]], noise: Noise) -> tuple[bool, ...]:
    """Play episodes to their end, all in lock step; states the graph has not met are asked for and kept in it.

    Args:
        graph: dynamics, policy and memory.
        starts: where they begin.
        noise: what sampled actions draw from.

    Returns:
        Whether each succeeded.
    """
    done = [False] * len(starts)
    live: list[tuple[int, S, int, int]] = []
    for position, start in enumerate(starts):
        if start.first is None or start.left < 1:
            live.append((position, start.state, start.left, start.clock))
            continue
        end = guarded_step(graph.dynamics, start.state, start.first)
        graph.ledger.environment_steps += 1
        done[position] = end.success
        if not end.ended:
            live.append((position, graph.dynamics.timeless(end.state), start.left - 1, start.clock + 1))
    while live := [one for one in live if one[2] > 0]:
        graph.expand([state for _, state, _, _ in live])
        following = []
        for position, state, left, clock in live:
            node = graph.node(state)
            chosen = noise.pick(starts[position].rollout, clock, node.actions, node.probabilities)
            child = node.children[chosen] if chosen >= 0 else None
            if child is not None:
                following.append((position, child, left - 1, clock + 1))
            elif chosen >= 0:
                done[position] = bool(node.success[chosen])
        live = following
    return tuple(done)


def sample_arm(graph: ValueGraph[S], state: S, first: str | None, rollouts: range, noise: Noise) -> Outcomes:
    """Roll out from a state, with a forced first action or none."""
    key, left = graph.dynamics.timeless(state), graph.dynamics.steps_left(state)
    return Outcomes(noise, roll_out(graph, [Start(key, left, rollout, first) for rollout in rollouts], noise))


def count_pairs(first: Outcomes, second: Outcomes) -> PairCounts:
    """Count the four outcomes of paired rollouts.

    Raises:
        ValueError: the arms do not share their noise, or differ in number: such a difference would be much wider than
            it looks.
    """
    if first.noise != second.noise or len(first.success) != len(second.success):
        raise ValueError(
            f"arms are paired only where they share noise and number: {first.noise} x {len(first.success)} against "
            f"{second.noise} x {len(second.success)}"
        )
    pairs = list(zip(first.success, second.success, strict=True))
    return PairCounts(
        both=pairs.count((True, True)),
        first_only=pairs.count((True, False)),
        second_only=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def pair_difference(counts: PairCounts, *, confidence: float = 0.95) -> Bound:
    """Return the first arm's success minus the second's, with its posterior interval.

    The prior of the four outcomes is Dirichlet(1/2, 1/2, 1/2, 1/2); the difference is p10 - p01. Its quantiles come
    from a fixed set of draws, so equal counts have equal intervals.
    """
    generator = np.random.default_rng(0)
    agreeing = counts.both + counts.neither
    draws = generator.dirichlet([counts.first_only + 0.5, counts.second_only + 0.5, agreeing + 1.0], _POSTERIOR_DRAWS)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws[:, 0] - draws[:, 1], [tail, 1 - tail])
    estimate = (counts.first_only - counts.second_only) / counts.pairs if counts.pairs else 0.0
    return Bound(
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        estimate=estimate,
        method="sampled",
        rollouts=2 * counts.pairs,
        successes=2 * counts.both + counts.first_only + counts.second_only,
    )


def decide_difference(
    graph: ValueGraph[S],
    state: S,
    action: str,
    noise: Noise,
    *,
    decided: Callable[[Bound], bool],
    sizes: Sequence[int] = SIZES,
) -> tuple[PairCounts, Bound]:
    """Sample the gain of one action until it is decided or the largest size is reached.

    Args:
        graph: dynamics, policy and memory.
        state: where the action would be taken.
        action: what is forced in the first arm; the second follows the policy.
        noise: shared by both arms.
        decided: whether an interval needs no more rollouts.
        sizes: numbers of pairs after which to ask that, ascending.
    """
    forced: tuple[bool, ...] = ()
    free: tuple[bool, ...] = ()
    counts, bound = PairCounts(both=0, first_only=0, second_only=0, neither=0), None
    for size in sizes:
        more = range(len(forced), size)
        forced += sample_arm(graph, state, action, more, noise).success
        free += sample_arm(graph, state, None, more, noise).success
        counts = count_pairs(Outcomes(noise, forced), Outcomes(noise, free))
        bound = pair_difference(counts)
        if decided(bound):
            break
    return counts, bound or pair_difference(counts)


def narrow_value(
    graph: ValueGraph[S], state: S, action: str | None, noise: Noise, *, rollouts: int, confidence: float = 0.95
) -> Bound:
    """Narrow a value whose certified gap is too wide by rollouts from where the graph ends.

    V = low + gap q, q the chance of success of an episode that leaves the graph. Entries of the frontier are drawn by
    their share of arrivals and played to the end, so q ~ Beta(1 + s, 1 + n - s). With nothing expanded this is plain
    Monte Carlo.

    Args:
        graph: dynamics, policy and memory.
        state: where the value is wanted.
        action: an action whose value it is, or None for the policy's.
        noise: source of all draws.
        rollouts: episodes to play.
        confidence: confidence of the posterior interval.
    """
    key, left = graph.dynamics.timeless(state), graph.dynamics.steps_left(state)
    if action is not None and left > 0:
        end = guarded_step(graph.dynamics, key, action)
        if end.ended:
            worth = float(end.success)
            return Bound(low=worth, high=worth, estimate=worth, method="graph")
        key, left = graph.dynamics.timeless(end.state), left - 1
    reach = graph.reach([(key, left)])
    low, gap = float(reach.values.success[left, 0]), float(reach.values.gap[left, 0])
    if gap <= 0 or rollouts < 1:
        return Bound(low=low, high=min(low + gap, 1.0), estimate=min(low + gap / 2, 1.0), method="graph")
    mass = arrivals(reach.chain, [(0, left, 1.0)], left)
    steps, places = np.nonzero(mass)
    edges = np.cumsum(mass[steps, places])
    draws = [noise.uniform(rollout, -1, "frontier") * edges[-1] for rollout in range(rollouts)]
    picks = np.minimum(np.searchsorted(edges, draws), len(edges) - 1).tolist()
    starts = [
        Start(reach.states[places[pick]], int(steps[pick]), rollout, clock=left - int(steps[pick]))
        for rollout, pick in enumerate(picks)
    ]
    wins = sum(roll_out(graph, starts, noise))
    tail = (1 - confidence) / 2
    ends = [beta_quantile(share, 1 + wins, 1 + rollouts - wins) for share in (tail, 1 - tail)]
    return Bound(
        low=low + gap * ends[0],
        high=min(low + gap * ends[1], 1.0),
        estimate=min(low + gap * (1 + wins) / (2 + rollouts), 1.0),
        method="mixed",
        rollouts=rollouts,
        successes=wins,
    )
