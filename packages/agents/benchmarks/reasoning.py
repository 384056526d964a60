"""CPU time of a training step of TRM, HRM and plain networks, and what bfloat16 is worth on this processor.

    OMP_NUM_THREADS=1 python packages/agents/benchmarks/reasoning.py --rounds 5 --steps 20

Arithmetics take turns, and the median of the rounds counts. Sizes are those of the experiments: 6x6 Sudoku, 64
questions at work, width 64, two cycles of three updates, so that a segment applies the network eight times.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from sightline.agents.reasoning import (
    HRMConfig,
    PlainConfig,
    PuzzleSets,
    Sudoku,
    Trainer,
    TrainerConfig,
    TRMConfig,
    make_reasoner,
)


def step_milliseconds(trainer: Trainer, steps: int) -> float:
    """Return CPU milliseconds a step of a training that goes on."""
    begun = time.process_time()
    for _ in range(steps):
        trainer.train_step()
    return 1000 * (time.process_time() - begun) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = Sudoku(6)
    sets = PuzzleSets.sample(task, puzzles=500, held_out=2, seed=0)
    trm = TRMConfig.for_task(task)
    configs = {
        "TRM": trm,
        "TRM, attention": trm.model_copy(update={"mixing": "attention"}),
        "HRM": HRMConfig.for_task(task),
        "plain, equal parameters": PlainConfig.equal_parameters(trm),
        "plain, equal compute": PlainConfig.equal_compute(trm),
    }
    print(f"{'ms of CPU a step':28s} float32 bfloat16  ratio")
    for name, config in configs.items():
        segments = 1 if config.kind == "plain" else 8
        trainers = {
            precision: Trainer(
                make_reasoner(config),
                sets,
                TrainerConfig.model_validate({"steps": 1, "segments": segments, "precision": precision}),
            )
            for precision in ("float32", "bfloat16")
        }
        times = {precision: [] for precision in trainers}
        for _ in range(arguments.rounds + 1):
            for precision, trainer in trainers.items():
                times[precision].append(step_milliseconds(trainer, arguments.steps))
        full, half = (float(np.median(values[1:])) for values in times.values())  # the first round warms up
        print(f"{name:28s} {full:7.1f} {half:8.1f} {full / half:6.2f}")


if __name__ == "__main__":
    main()
