"""Wall time and peak memory of training on a data set folder, and of 10,000 predictions.

Run as ``python packages/jepa/benchmarks/training.py --data FOLDER --config packages/jepa/configs/plain.yaml``.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch.nn.functional import normalize

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data import read_dataset
from sightline.jepa.training.trainer import Trainer

PREDICTIONS = 10_000


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    data: Path
    """Folder of a `SteeringDataset`."""
    config: Path
    """YAML file of a `JEPAConfig`."""
    seed: int = 0
    """Seed of the run."""
    threads: int = 2
    """CPU threads of torch."""


def main(arguments: Arguments) -> None:
    torch.set_num_threads(arguments.threads)
    config = JEPAConfig.from_yaml(arguments.config)
    seeded = config.training.model_copy(update={"seed": arguments.seed})
    trainer = Trainer(config.model_copy(update={"training": seeded}), read_dataset(arguments.data))
    started = time.perf_counter()
    result = trainer.fit()
    trained = time.perf_counter() - started

    dimension = config.predictor.dimension
    vectors = normalize(torch.randn(PREDICTIONS, dimension, generator=torch.Generator().manual_seed(0)), dim=1)
    has_steering = torch.arange(PREDICTIONS) % 2 == 0
    model = trainer.model
    started = time.perf_counter()
    model.predict(vectors, vectors.roll(1, dims=0), has_steering)
    predicted = time.perf_counter() - started
    best = result.history[result.best_epoch]
    report = {
        "training_seconds": round(trained, 1),
        "epochs": len(result.history) - 1,
        "best_epoch": result.best_epoch,
        "validation_mrr": best.validation,
        f"seconds_for_{PREDICTIONS}_predictions": round(predicted, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
