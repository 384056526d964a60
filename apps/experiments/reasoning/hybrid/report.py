"""What E3 found: puzzles solved and nodes looked at, with search, with TRM, and with both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reasoning.chapters import Chapter
from experiments.reasoning.hybrid.methods import ALONE, CONSTRAINED, GUIDED, PLAIN, TREE, HybridResult
from experiments.reasoning.puzzles.comparison_report import share
from experiments.reasoning.puzzles.figures import solved_by_nodes
from lab.figures import save_figure
from lab.report import Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import paired_difference, wilson_interval


def hybrid_chapter(run: RunDirectory, task: str, results: Sequence[HybridResult], seed: int) -> Chapter:
    """Return the chapter of E3; its figure is written now."""
    nodes = {name: _nodes(results, name) for name in (PLAIN, CONSTRAINED, GUIDED)}
    budgets = sorted({result.budget for result in results if result.method == TREE})
    tree = {budget: [r for r in results if r.method == TREE and r.budget == budget] for budget in budgets}
    alone = [result.solved for result in results if result.method == ALONE]
    shares = {budget: float(np.mean([result.solved for result in found])) for budget, found in tree.items()}
    table = Table(
        columns=("method", "solved", "median nodes", "mean nodes", "positions TRM judged"),
        rows=(
            (ALONE, share(wilson_interval(sum(alone), len(alone))), "0", "0", "1"),
            *(_row(name, [r for r in results if r.method == name]) for name in nodes),
            *(_row(f"{TREE}, {budget} simulations", found) for budget, found in tree.items()),
        ),
        caption=f"{task}, {len(alone)} test puzzles of unseen symmetry classes. A node is a digit put into a cell; of "
        "a tree search it is a simulation.",
    )
    saved = (
        paired_difference(
            np.log10(nodes[GUIDED].clip(min=1)), np.log10(nodes[CONSTRAINED].clip(min=1)), np.random.default_rng(seed)
        )
        if np.isfinite(nodes[GUIDED]).all() and np.isfinite(nodes[CONSTRAINED]).all()
        else None
    )
    failed = [index for index, solved in enumerate(alone) if not solved]
    rescued = {budget: sum(found[index].solved for index in failed) for budget, found in tree.items()}
    claims = [
        f"Backtracking at the most constrained cell takes {np.median(nodes[CONSTRAINED]):.0f} nodes in the median "
        f"puzzle of {task}, with TRM's order of digits {np.median(nodes[GUIDED]):.0f}"
        + (f" (geometric mean x {10**saved.value:.2f} [{10**saved.low:.2f}, {10**saved.high:.2f}])." if saved else "."),
        f"Of the {len(failed)} puzzles that TRM alone fails, tree search with its distribution solves "
        + ", ".join(f"{count} with {budget} simulations" for budget, count in rescued.items())
        + ".",
    ]
    figure = save_figure(solved_by_nodes(nodes, {TREE: shares}), run.path / "plots" / "hybrid.svg")
    return Chapter(
        claims,
        [table],
        [Section("TRM with search", tables=(table,), figures=(figure,))],
        {
            "hybrid": {
                "alone": float(np.mean(alone)),
                "median_nodes": {name: float(np.median(values)) for name, values in nodes.items()},
                "tree": {str(budget): value for budget, value in shares.items()},
            }
        },
    )


def _nodes(results: Sequence[HybridResult], method: str) -> NDArray[np.float64]:
    return np.array([r.nodes if r.solved else np.inf for r in results if r.method == method], dtype=np.float64)


def _row(name: str, found: Sequence[HybridResult]) -> tuple[str, ...]:
    nodes = np.array([result.nodes for result in found])
    return (
        name,
        share(wilson_interval(sum(result.solved for result in found), len(found))),
        f"{np.median(nodes):.0f}",
        f"{nodes.mean():.1f}",
        f"{np.mean([result.judged for result in found]):.0f}",
    )
