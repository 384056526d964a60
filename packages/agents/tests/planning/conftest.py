from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.agents.planning import Expansion, Plan


class TableWorld:
    """A world given by tables: next state, reward and discount of every action, logits and value of every state."""

    def __init__(
        self,
        after: Sequence[Sequence[int]],
        reward: Sequence[Sequence[float]],
        discount: Sequence[Sequence[float]],
        logits: Sequence[Sequence[float]],
        value: Sequence[float],
        *,
        players: Literal[1, 2] = 1,
        bounds: tuple[float, float] | None = None,
        deterministic: bool = True,
        legal: Sequence[Sequence[bool]] | None = None,
        plans: dict[int, Plan] | None = None,
    ) -> None:
        self.after, self.reward = np.array(after), np.array(reward, float)
        self.discount, self.logits = np.array(discount, float), np.array(logits, float)
        self.value = np.array(value, float)
        self.legal = np.ones(self.after.shape, bool) if legal is None else np.array(legal)
        self.players, self.bounds, self.deterministic = players, bounds, deterministic
        self.max_actions = self.after.shape[1]
        self.plans = plans
        self.expanded: list[int] = []
        self.stepped: list[tuple[int, int]] = []

    def pack(self, roots: Sequence[int]) -> tuple[NDArray[np.int64]]:
        return (np.array([int(np.asarray(root).reshape(-1)[0]) for root in roots]),)

    def step(self, states: Any, actions: NDArray[np.int64]) -> Any:
        (now,) = states
        assert self.legal[now, actions].all()
        self.stepped += zip(now.tolist(), actions.tolist(), strict=True)
        return (self.after[now, actions],), self.reward[now, actions], self.discount[now, actions]

    def expand(self, states: Any) -> Expansion:
        (now,) = states
        self.expanded += now.tolist()
        plans = None if self.plans is None else [self.plans.get(state) for state in now.tolist()]
        return Expansion(self.logits[now], self.value[now], self.legal[now], plans)

    def key(self, state: Any) -> Hashable:
        return int(np.asarray(state).reshape(-1)[0])


def tree_world(rng: np.random.Generator, depth: int, branching: int, **settings: Any) -> TableWorld:
    """A tree of this depth whose rewards, logits and values are random; it ends at the leaves."""
    inner = (branching**depth - 1) // (branching - 1)
    after = np.arange(inner)[:, None] * branching + np.arange(1, branching + 1)
    discount = np.where(after >= inner, 0.0, 1.0)
    return TableWorld(
        np.minimum(after, inner - 1).tolist(),
        rng.uniform(-1, 1, after.shape).tolist(),
        discount.tolist(),
        rng.normal(0, 1, after.shape).tolist(),
        rng.normal(0, 1, inner).tolist(),
        **settings,
    )


@pytest.fixture
def table_world() -> type[TableWorld]:
    return TableWorld


@pytest.fixture
def random_tree() -> Any:
    return tree_world
