"""Train a tiny recursive model on 6 x 6 Sudoku, and let it solve a hundred fresh puzzles.

    uv run examples/solve_sudoku.py --minutes 5

A few minutes of one core solve nearly all; the answers are checked by the rules.
"""

from __future__ import annotations

import argparse

import numpy as np

from sightline.agents.reasoning import TRM, Sudoku, Trainer, TrainerConfig, TRMConfig


def main() -> None:
    """Train and solve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="minutes of training")
    task = Sudoku(6)
    model = TRM(TRMConfig.for_task(task))
    Trainer(model, task, TrainerConfig(minutes=parser.parse_args().minutes)).fit()
    puzzles = task.sample(np.random.default_rng(1), 100).inputs
    answers = model.solve(puzzles, max_steps=16)
    print(f"solved {answers.solved.mean():.0%} of {len(puzzles)} puzzles in {answers.steps.mean():.1f} steps")


if __name__ == "__main__":
    main()
