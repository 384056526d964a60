"""How wide the certified interval is after so many prompts, and what sampling says for the same prompts.

    uv run python packages/teachability/benchmarks/values.py

Worlds of 400 states with 12 actions each and a policy of temperature 0.5, horizon 12: as a web shop has them, and
small enough that the true value is known from a graph without frontier.
"""

from __future__ import annotations

import time

import numpy as np

from sightline.teachability import StateView, Transition, ValueGraph
from sightline.teachability.values import Noise, sample_arm

WORLDS = 20
BUDGETS = (20, 40, 80, 160, 320)
STATES, ACTIONS, HORIZON = 400, 12, 12


class World:
    """A random map; a twelfth of all actions ends the episode, a third of those in success."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.next = generator.integers(STATES, size=(STATES, ACTIONS))
        self.ends = generator.random((STATES, ACTIONS)) < 1 / 12
        self.wins = generator.random((STATES, ACTIONS)) < 1 / 3
        self.logits = generator.normal(size=(STATES, ACTIONS)) / 0.5
        self.names = tuple(f"click[{i}]" for i in range(ACTIONS))
        self.name = self.fingerprint = f"world {seed}"
        self.asked = 0

    def actions(self, state: tuple[int, int]) -> tuple[str, ...]:
        """Return the twelve clicks."""
        return self.names

    def step(self, state: tuple[int, int], action: str) -> Transition[tuple[int, int]]:
        """Follow the map."""
        place, chosen = state[0], self.names.index(action)
        after = (int(self.next[place, chosen]), state[1] + 1)
        return Transition(after, float(self.wins[place, chosen]), bool(self.ends[place, chosen]))

    def view(self, state: tuple[int, int]) -> StateView:
        """Name the state."""
        return StateView("win", str(state[0]), self.names)

    def timeless(self, state: tuple[int, int]) -> tuple[int, int]:
        """Forget the steps."""
        return (state[0], 0)

    def steps_left(self, state: tuple[int, int]) -> int:
        """Count down from the horizon."""
        return HORIZON - state[1]

    def encode(self, state: tuple[int, int]) -> bytes:
        """Return two numbers."""
        return np.array(state, dtype=np.int32).tobytes()

    def decode(self, snapshot: bytes) -> tuple[int, int]:
        """Read them."""
        place, steps = np.frombuffer(snapshot, dtype=np.int32).tolist()
        return (place, steps)

    def distributions(self, views, patches=None) -> list[np.ndarray]:
        """Return the softmax of the state's logits."""
        self.asked += len(views)
        weights = np.exp(self.logits[[int(view.observation) for view in views]])
        return list(weights / weights.sum(axis=1, keepdims=True))


def main() -> None:
    rows = {budget: [] for budget in BUDGETS}
    for seed in range(WORLDS):
        truth = ValueGraph(World(seed), World(seed), tolerance=0.0, max_prompts=10**6).value((0, 0)).estimate
        for budget in BUDGETS:
            world = World(seed)
            started = time.process_time()
            bound = ValueGraph(world, world, tolerance=0.0, max_prompts=budget).value((0, 0))
            seconds = time.process_time() - started
            assert bound.low - 1e-9 <= truth <= bound.high + 1e-9
            world, wins, count = World(seed), 0, 0
            graph = ValueGraph(world, world)
            while world.asked < budget:
                wins += sum(sample_arm(graph, (0, 0), None, range(count, count + 1), Noise(seed, "b")).success)
                count += 1
            rows[budget].append((bound.gap, abs(bound.estimate - truth), abs(wins / count - truth), count, seconds))
    print("| prompts | gap (median) | error of its middle | error of sampling | rollouts | CPU ms of the graph |")
    print("|---|---|---|---|---|---|")
    for budget, of in rows.items():
        gap, middle, sampled, count, seconds = np.array(of).T
        print(
            f"| {budget} | {np.median(gap):.3f} | {middle.mean():.4f} | {sampled.mean():.4f} | {count.mean():.0f} "
            f"| {1000 * seconds.mean():.0f} |"
        )


if __name__ == "__main__":
    main()
