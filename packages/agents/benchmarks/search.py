"""Simulations a second of the tree search, against mctx and OpenSpiel, on one thread.

    uv run --package sightline-agents --group benchmark packages/agents/benchmarks/search.py   # three minutes
    ... --rounds 1                                                                             # a look

All search Connect Four 7 x 6 from the empty board with 100 simulations. The rivals take turns (A B A B), times are
CPU times of the process, and a ratio is the median over the rounds. mctx plays the same bitboards in JAX; compiling is
not counted. OpenSpiel brings its own game: for its random games in C++ against ours in NumPy, read the rows with
rollouts. Our side leaves nothing out: it excludes exhausted subtrees, which the others do not.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np

from sightline.agents.planning import Search
from sightline.agents.selfplay import ConnectFour, solve

SIMULATIONS = 100
ROOTS = 256
GAME = ConnectFour(columns=7, rows=6)

Run = Callable[[], int]
"""Runs once and returns how many simulations that took."""


def ours(method: str, evaluator: Any, roots: int, executor: str, searches: int = 1) -> Run:
    search = Search(simulations=SIMULATIONS, method=method)  # ty: ignore[invalid-argument-type]
    model = GAME.model(evaluator)

    def run() -> int:
        return sum(
            int(search.run(model, [GAME.initial()] * roots, executor=executor).simulations.sum())  # ty: ignore
            for _ in range(searches)
        )

    return run


def mctx_rival(method: str, roots: int) -> Run:
    """Search the same bitboards with mctx, logits 0 and value 0."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    jax, jnp, mctx = (import_module(name) for name in ("jax", "jax.numpy", "mctx"))
    jax.config.update("jax_enable_x64", True)
    tops = jnp.array(GAME.tops, jnp.uint64)
    bottoms = jnp.array(GAME.bottoms, jnp.uint64)
    cells = jnp.uint64(GAME.cells)

    def recurrent(_: Any, key: Any, action: Any, board: Any) -> Any:
        mover, other = board[:, 0], board[:, 1]
        stones = mover | other
        moved = mover | ((stones + bottoms[action]) & ~stones & cells)
        lines = jnp.zeros_like(moved)
        for step in GAME.steps:
            pairs = moved & (moved >> step)
            lines |= pairs & (pairs >> 2 * step)
        won, full = lines != 0, (moved | other) == cells
        legal = ((moved | other)[:, None] & tops) == 0
        output = mctx.RecurrentFnOutput(
            reward=won.astype(jnp.float32),
            discount=jnp.where(won | full, 0.0, -1.0).astype(jnp.float32),
            prior_logits=jnp.where(legal, 0.0, -1e9).astype(jnp.float32),
            value=jnp.zeros(len(won), jnp.float32),
        )
        return output, jnp.stack([other, moved], axis=1)

    root = mctx.RootFnOutput(
        prior_logits=jnp.zeros((roots, GAME.max_actions), jnp.float32),
        value=jnp.zeros(roots, jnp.float32),
        embedding=jnp.zeros((roots, 2), jnp.uint64),
    )

    @jax.jit
    def search(key: Any) -> Any:
        if method == "puct":
            return mctx.muzero_policy(None, key, root, recurrent, SIMULATIONS, dirichlet_fraction=0.0).action
        return mctx.gumbel_muzero_policy(None, key, root, recurrent, SIMULATIONS).action

    def run() -> int:
        search(jax.random.PRNGKey(0)).block_until_ready()
        return roots * SIMULATIONS

    run()  # compiles
    return run


def open_spiel_rival(language: str, evaluator: str, searches: int) -> Run:
    """OpenSpiel's MCTS bots, one game after the other."""
    pyspiel, mcts = (import_module(name) for name in ("pyspiel", "open_spiel.python.algorithms.mcts"))
    game = pyspiel.load_game("connect_four")
    state = game.new_initial_state()
    if language == "c++":
        rollouts = pyspiel.RandomRolloutEvaluator(1, 0)
        bot: Any = pyspiel.MCTSBot(
            game, rollouts, 1.25, SIMULATIONS, 1000, False, 0, False, pyspiel.ChildSelectionPolicy.PUCT
        )
        search = bot.mcts_search
    else:

        class Zero(mcts.Evaluator):
            def evaluate(self, state: Any) -> Any:
                return np.zeros(2)

            def prior(self, state: Any) -> Any:
                actions = state.legal_actions()
                return [(action, 1 / len(actions)) for action in actions]

        judge = Zero() if evaluator == "zero" else mcts.RandomRolloutEvaluator(1, np.random.RandomState(0))
        search = mcts.MCTSBot(
            game, 1.25, SIMULATIONS, judge, solve=False, child_selection_fn=mcts.SearchNode.puct_value
        ).mcts_search

    def run() -> int:
        for _ in range(searches):
            search(state)
        return searches * SIMULATIONS

    return run


def speed(run: Run) -> float:
    """Return simulations per CPU second."""
    started = time.process_time()
    number = run()
    return number / (time.process_time() - started)


def compare(name: str, ours: Run, rival: Run, rounds: int, target: float) -> None:
    ours(), rival()
    pairs = [(speed(ours), speed(rival)) for _ in range(rounds)]
    ratio = median(first / second for first, second in pairs)
    mine, theirs = (median(pair[side] for pair in pairs) for side in (0, 1))
    verdict = "met" if ratio >= target else "MISSED"
    print(f"{name:62} {mine:>9,.0f} {theirs:>9,.0f} {ratio:6.2f} x  target {target:4.1f}: {verdict}", flush=True)


def solver_speed() -> None:
    for columns, rows, most in ((5, 4, 1.0), (6, 5, 60.0)):
        game = ConnectFour(columns=columns, rows=rows)
        started = time.process_time()
        solution = solve(game, game.initial())
        seconds = time.process_time() - started
        print(
            f"solver, {columns}x{rows} from the empty board: score {solution.score}, {solution.nodes:,} nodes "
            f"in {seconds:.2f} s ({solution.nodes / seconds:,.0f} nodes/s, target 150,000; at most {most:g} s)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival (default: 5)")
    rounds = parser.parse_args().rounds
    print(f"{'':62} {'ours/s':>9} {'rival/s':>9} {'ratio':>6}")
    for method, target in (("puct", 1.5), ("gumbel", 0.7)):
        for roots in (64, ROOTS):
            compare(
                f"{method}, {roots} games, against mctx",
                ours(method, "uniform", roots, "lockstep"),
                mctx_rival(method, roots),
                rounds,
                target if roots == ROOTS else 0.0,
            )
    rollouts = ours("puct", "rollouts", ROOTS, "lockstep")
    compare(
        "one random game a leaf, 256 games, against OpenSpiel C++",
        rollouts,
        open_spiel_rival("c++", "rollouts", 50),
        rounds,
        0.6,
    )
    compare("the same, against OpenSpiel Python", rollouts, open_spiel_rival("python", "rollouts", 3), rounds, 10.0)
    compare(
        "one game, scalar executor, value 0, against OpenSpiel Python",
        ours("puct", "uniform", 1, "scalar", searches=50),
        open_spiel_rival("python", "zero", searches=50),
        rounds,
        0.8,
    )
    solver_speed()


if __name__ == "__main__":
    main()
