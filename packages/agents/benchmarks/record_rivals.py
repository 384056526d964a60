"""Records what mctx and OpenSpiel find in small worlds, for the tests to compare with.

    uv run --package sightline-agents --group benchmark packages/agents/benchmarks/record_rivals.py

The worlds are functions of hashes, so that the tests build the same ones; values are all different, so that no tie has
to be broken. mctx searches an endless world of 40 states. OpenSpiel searches Connect Four from early positions: where a
game ends, it scores the move without its bonus, and the counts would differ.
"""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sightline.agents.selfplay import Board, ConnectFour

DATA = Path(__file__).parents[1] / "tests" / "planning" / "data"
STATES, ACTIONS = 40, 4
SIMULATIONS = 48
ROOTS = 6


def tables(seed: int) -> dict[str, Any]:
    """Return a world of random transitions, rewards, logits and values."""
    rng = np.random.default_rng(seed)
    return {
        "next": rng.integers(0, STATES, (STATES, ACTIONS)).tolist(),
        "reward": rng.uniform(-0.3, 0.3, (STATES, ACTIONS)).round(6).tolist(),
        "logits": rng.normal(0, 1, (STATES, ACTIONS)).round(6).tolist(),
        "value": rng.uniform(-0.5, 0.5, STATES).round(6).tolist(),
    }


def mctx_search(world: dict[str, Any], discount: float, method: str) -> dict[str, Any]:
    jax, jnp, mctx = (import_module(name) for name in ("jax", "jax.numpy", "mctx"))
    after, reward, logits, value = (jnp.array(world[name]) for name in ("next", "reward", "logits", "value"))

    def recurrent(_: Any, key: Any, action: Any, state: Any) -> Any:
        new = after[state, action]
        output = mctx.RecurrentFnOutput(
            reward=reward[state, action],
            discount=jnp.full(state.shape, discount, jnp.float32),
            prior_logits=logits[new],
            value=value[new],
        )
        return output, new

    states = jnp.arange(ROOTS)
    root = mctx.RootFnOutput(prior_logits=logits[states], value=value[states], embedding=states)
    key = jax.random.PRNGKey(7)
    if method == "puct":
        policy: Any = mctx.muzero_policy(
            None, key, root, recurrent, SIMULATIONS, dirichlet_fraction=0.0, temperature=0.0,
            qtransform=lambda tree, node: mctx.qtransform_by_min_max(tree, node, min_value=-2.0, max_value=2.0),
        )  # fmt: skip
        noise = np.zeros((ROOTS, ACTIONS))
    else:
        policy = mctx.gumbel_muzero_policy(None, key, root, recurrent, SIMULATIONS)
        noise = np.asarray(policy.search_tree.extra_data.root_gumbel)
    tree, summary = policy.search_tree, policy.search_tree.summary()
    return {
        "method": method,
        "discount": discount,
        "gumbel": noise.tolist(),
        "action": np.asarray(policy.action).tolist(),
        "policy": np.asarray(policy.action_weights).tolist(),
        "value": np.asarray(summary.value).tolist(),
        "visits": np.asarray(summary.visit_counts).tolist(),
        "q": np.asarray(summary.qvalues).tolist(),
        "nodes": [node_visits(tree, row) for row in range(ROOTS)],
    }


def node_visits(tree: Any, row: int) -> dict[str, int]:
    """Visits of every node by the actions that lead to it."""
    parents, actions = np.asarray(tree.parents[row]), np.asarray(tree.action_from_parent[row])
    visits = np.asarray(tree.node_visits[row])
    names = {0: ""}
    for node in range(1, len(parents)):
        if parents[node] >= 0:
            names[node] = f"{names[int(parents[node])]}{actions[node]}"
    return {name: int(visits[node]) for node, name in names.items()}


def judge(mover: int, other: int) -> tuple[list[float], float]:
    """Priors of the seven columns and a value of a Connect Four position, from a hash of it."""
    digest = hashlib.sha256(f"{mover} {other}".encode()).digest()
    weights = [(1 + int.from_bytes(digest[at : at + 4], "big")) / 2**32 for at in range(0, 28, 4)]
    return weights, int.from_bytes(digest[28:], "big") / 2**31 - 1


def open_spiel_search(history: list[int]) -> dict[str, Any]:
    pyspiel, mcts = (import_module(name) for name in ("pyspiel", "open_spiel.python.algorithms.mcts"))
    rules = ConnectFour()

    def board(state: Any) -> Board:
        position = rules.initial()
        for action in state.history():
            position = rules.apply(position, action)
        return position

    class Hashed(mcts.Evaluator):
        def evaluate(self, state: Any) -> Any:
            value = judge(*board(state))[1]
            return np.array([value, -value] if state.current_player() == 0 else [-value, value])

        def prior(self, state: Any) -> Any:
            legal = state.legal_actions()
            weights = judge(*board(state))[0]
            total = sum(weights[action] for action in legal)
            return [(action, weights[action] / total) for action in legal]

    state = pyspiel.load_game("connect_four").new_initial_state()
    for action in history:
        state.apply_action(action)
    # OpenSpiel counts the judgement of the root as a simulation.
    bot = mcts.MCTSBot(
        state.get_game(), 2.0, SIMULATIONS + 1, Hashed(), solve=False, child_selection_fn=mcts.SearchNode.puct_value
    )
    root = bot.mcts_search(state)
    visits = [0] * 7
    for child in root.children:
        visits[child.action] = child.explore_count
    return {"history": history, "visits": visits}


def main() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    world = tables(0)
    searches = [mctx_search(world, discount, method) for discount in (0.9, -1.0) for method in ("puct", "gumbel")]
    (DATA / "mctx.json").write_text(json.dumps({"world": world, "simulations": SIMULATIONS, "searches": searches}))
    histories = [[], [3], [0, 6], [3, 3], [2, 4, 1], [0, 0, 0, 0, 0, 0], [3, 2, 3, 4]]
    recorded = {"simulations": SIMULATIONS, "searches": [open_spiel_search(history) for history in histories]}
    (DATA / "open_spiel.json").write_text(json.dumps(recorded))


if __name__ == "__main__":
    main()
