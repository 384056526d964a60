"""LESS (Xia et al. 2024): choose examples whose gradients point where those of a small panel point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.training._extra import torch
from sightline.teachability.training.loop import LoRALearner, batch_loss
from sightline.teachability.training.policy import ScoreFn, plain_scores
from sightline.teachability.training_records import Example

_DIMENSIONS = 512


def gradient_alignment(
    learner: LoRALearner,
    examples: Sequence[Example],
    panel: Sequence[Example],
    *,
    seed: int,
    dimensions: int = _DIMENSIONS,
    score: ScoreFn = plain_scores,
) -> NDArray[np.float64]:
    """Return the cosine of every example's gradient with the panel's mean gradient, both projected at random.

    Gradients are of a new adapter's B matrices (those of A are zero there), at the base.

    Args:
        learner: the student.
        examples: candidates.
        panel: examples of what should get better, from groups that are used for nothing else.
        seed: seed of adapter and projection.
        dimensions: dimensions of the projection.
        score: computes log-probabilities.

    Returns:
        [N] from -1 to 1.
    """
    slot = learner.slot
    slot.put(slot.draw(seed), f"less {seed}")
    parameters = [parameter for name, parameter in sorted(slot.parameters.items()) if "lora_B" in name]
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(5,)))
    size = sum(parameter.numel() for parameter in parameters)
    # One sign and one bucket per weight (a sparse projection): all of a dense one would not fit into memory.
    buckets = torch.tensor(generator.integers(dimensions, size=size))
    signs = torch.tensor(generator.choice([-1.0, 1.0], size=size), dtype=torch.float32)

    def project(example: Example) -> NDArray[np.float64]:
        loss = batch_loss(slot.model, [example], learner.config, score)
        gradients = torch.autograd.grad(loss, parameters)
        flat = torch.cat([gradient.reshape(-1).float().cpu() for gradient in gradients]) * signs
        return torch.zeros(dimensions).index_add(0, buckets, flat).double().numpy()

    target = np.mean([_unit(project(example)) for example in panel], axis=0)
    return np.array([float(_unit(project(example)) @ _unit(target)) for example in examples])


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 0 else vector
