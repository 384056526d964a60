"""E3: what search adds to TRM and TRM to search, in puzzles solved and nodes looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from experiments.reasoning.hybrid.backtracking import Searched, backtrack
from experiments.reasoning.hybrid.cell_filling import CellFilling
from experiments.reasoning.settings import HybridSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.planning import Search
from sightline.agents.reasoning import HRM, TRM, PuzzleSets, Sudoku, load_reasoner
from sightline.retrieval.jsonl import DurableLines, read_jsonl

PLAIN, CONSTRAINED, GUIDED = (
    "backtracking, cells in reading order",
    "backtracking, most constrained cell",
    "the same, digits in TRM's order",
)
ALONE = "TRM alone"
TREE = "tree search with TRM"


class HybridResult(BaseModel):
    """What one method did with one puzzle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    method: str
    """Its name."""
    puzzle: int
    """Number of the test puzzle."""
    budget: int
    """Nodes or simulations allowed."""
    solved: bool
    """Whether it found the answer."""
    nodes: int
    """Digits put into cells, or simulations."""
    judged: int
    """Positions that TRM was asked about."""


def hybrid_stage(
    settings: HybridSettings, run: RunDirectory, workers: Workers, puzzles: Path, model: Path, segments: int
) -> list[HybridResult]:
    """Search the first test puzzles with all methods.

    Args:
        settings: budgets.
        run: run that the stage belongs to.
        workers: processes.
        puzzles: file of the puzzles, which are Sudoku.
        model: folder of a TRM trained on them.
        segments: K of its training.
    """
    budgets = (0, *settings.simulations)

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(
                folder / f"{budget}.jsonl",
                settings.puzzles * (4 if budget == 0 else 1),
                search_puzzles,
                (settings, budget, puzzles, model, segments, folder / f"{budget}.jsonl"),
            )
            for budget in reversed(budgets)
        ]

    folder = workers.stage(run, Stage.HYBRID, jobs)
    return [result for budget in budgets for result in read_jsonl(folder / f"{budget}.jsonl", HybridResult)]


def search_puzzles(
    settings: HybridSettings, budget: int, puzzles: Path, model: Path, segments: int, file: Path
) -> None:
    """Search with a tree of so many simulations; with 0, by TRM alone and by backtracking."""
    sets = PuzzleSets.read(puzzles)
    task, reasoner = sets.task, load_reasoner(model)
    assert isinstance(task, Sudoku)
    assert isinstance(reasoner, TRM | HRM)
    inputs = sets.test.inputs[: settings.puzzles]
    if budget:
        results = _tree(task, reasoner, inputs, budget, settings.segments)
    else:
        results = [*_alone(reasoner, inputs, segments), *_backtracking(task, reasoner, inputs, settings, segments)]
    lines = DurableLines(file)
    lines.cut(0)  # all of it is made anew after a kill: it takes seconds
    lines.append(*(result.model_dump_json().encode() for result in results))


def _alone(reasoner: TRM | HRM, inputs: NDArray[np.int64], segments: int) -> list[HybridResult]:
    answers = reasoner.solve(inputs, max_steps=2 * segments)
    return [
        HybridResult(method=ALONE, puzzle=index, budget=0, solved=solved, nodes=0, judged=1)
        for index, solved in enumerate(answers.solved.tolist())
    ]


def _backtracking(
    task: Sudoku, reasoner: TRM | HRM, inputs: NDArray[np.int64], settings: HybridSettings, segments: int
) -> list[HybridResult]:
    likelihoods = _likelihoods(reasoner, inputs, segments)
    results = []
    for index, cells in enumerate(inputs.tolist()):
        searches: dict[str, Callable[[], Searched]] = {
            PLAIN: partial(backtrack, task, cells, constrained=False, limit=settings.node_limit),
            CONSTRAINED: partial(backtrack, task, cells, constrained=True, limit=settings.node_limit),
            GUIDED: partial(
                backtrack,
                task,
                cells,
                constrained=True,
                order=partial(_likeliest_first, likelihoods[index]),
                limit=settings.node_limit,
            ),
        }
        for method, search in searches.items():
            found = search()
            results.append(
                HybridResult(
                    method=method,
                    puzzle=index,
                    budget=settings.node_limit,
                    solved=found.solved,
                    nodes=found.nodes,
                    judged=int(method == GUIDED),
                )
            )
    return results


def _tree(
    task: Sudoku, reasoner: TRM | HRM, inputs: NDArray[np.int64], simulations: int, segments: int
) -> list[HybridResult]:
    """Search all puzzles in step; the plan of a puzzle that is solved ends with a reward of 1."""
    world = CellFilling(task, reasoner, segments)
    found = Search(simulations=simulations, method="puct", seed=0).run(world, [tuple(row) for row in inputs.tolist()])
    judged = round(world.judged / len(inputs))
    return [
        HybridResult(
            method=TREE,
            puzzle=index,
            budget=simulations,
            solved=plan is not None and plan.value == 1.0,
            nodes=int(found.simulations[index]),
            judged=judged,
        )
        for index, plan in enumerate(found.plans)
    ]


def _likelihoods(reasoner: TRM | HRM, inputs: NDArray[np.int64], segments: int) -> NDArray[np.float32]:
    """Return TRM's distribution over tokens for each cell, [puzzles, L, V]."""
    tokens = torch.from_numpy(inputs)
    with torch.inference_mode():
        latents = reasoner.initial(tokens)
        for _ in range(segments):
            latents, output = reasoner(tokens, latents)
        return output.logits.softmax(dim=-1).numpy()


def _likeliest_first(likelihood: NDArray[np.float32], cell: int, digits: list[int]) -> list[int]:
    return sorted(digits, key=lambda digit: -likelihood[cell, digit])
