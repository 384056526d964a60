"""How much common random numbers narrow a paired difference, apart for actions that the policy takes anyway.

uv run python packages/teachability/benchmarks/coupling.py
"""

from __future__ import annotations

import numpy as np
from values import World

from sightline.teachability import ValueGraph
from sightline.teachability.values import Noise, sample_arm

SNAPSHOTS = 300
ROLLOUTS = 64


def main() -> None:
    rows = []
    for seed in range(SNAPSHOTS):
        world = World(seed % 50)
        # Half of the policies are nearly sure of their action, as students often are.
        world.logits[seed % 400] *= 1 if seed % 2 else 8
        graph = ValueGraph(world, world)
        state = (seed % 400, 4)
        pi = graph.node(state).probabilities
        action = world.names[int(np.argmax(pi))]
        forced = np.array(sample_arm(graph, state, action, range(ROLLOUTS), Noise(0, str(seed))).success, dtype=float)
        shared = np.array(sample_arm(graph, state, None, range(ROLLOUTS), Noise(0, str(seed))).success, dtype=float)
        apart = np.array(sample_arm(graph, state, None, range(ROLLOUTS), Noise(1, str(seed))).success, dtype=float)
        rows.append((pi.max(), (forced - apart).var(), (forced - shared).var()))
    probability, apart, shared = np.array(rows).T
    print("| actions | moments | variance apart | with common noise | ratio |")
    print("|---|---|---|---|---|")
    for name, inside in (("all", probability >= 0), ("pi(a) < .95", probability < 0.95)):
        first, second = apart[inside].mean(), shared[inside].mean()
        print(f"| {name} | {inside.sum()} | {first:.3f} | {second:.3f} | {first / second:.2f} |")


if __name__ == "__main__":
    main()
