"""Which kind of steering each training example gets, and how that changes over the epochs.

Everything follows from the configuration, the seed and the epoch, so that there is no state to save: a resumed run
draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.config import CurriculumConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import Steering, SteeringKind, steering

_INPUT_KINDS: Final[tuple[SteeringKind, ...]] = ("none", "category", "keywords", "residual")

KINDS: Final = (*_INPUT_KINDS, "wrong")
"""What an example may be steered by; `wrong` is the description of a category that is not the true one."""

_NEIGHBOURS = 3  # categories that count as near


class Curriculum:
    """Draws steering for training examples; deterministic in (seed, epoch)."""

    def __init__(self, config: CurriculumConfig, dataset: SteeringDataset, seed: int) -> None:
        """Make a curriculum.

        Raises:
            ValueError: wrong categories are wanted, but there is only one category.
        """
        if len(dataset.names) < 2 and (config.wrong_start or config.wrong_end):
            raise ValueError("there is one category, so none can be wrong; set wrong_start and wrong_end to 0")
        self._config = config
        self._dataset = dataset
        self._seed = seed
        similar = dataset.category_vectors @ dataset.category_vectors.T
        np.fill_diagonal(similar, -np.inf)
        self._neighbours = np.argsort(-similar, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(similar) - 1)]

    def probabilities(self, epoch: int) -> dict[str, float]:
        """Return the share of each of `KINDS` in an epoch, counted from 1; they sum to 1."""
        config = self._config
        progress = min((epoch - 1) / config.ramp_epochs, 1.0)
        none = config.none_start + (config.none_end - config.none_start) * progress
        wrong = config.wrong_start + (config.wrong_end - config.wrong_start) * progress
        weights = {kind: float(getattr(config, kind)) for kind in _INPUT_KINDS[1:]}
        true = (1 - none - wrong) / sum(weights.values())
        return {"none": none, **{kind: true * weight for kind, weight in weights.items()}, "wrong": wrong}

    def draw(self, epoch: int, question_ids: NDArray[np.int64]) -> tuple[Steering, NDArray[np.int64]]:
        """Draw steering for one epoch's examples, in their order.

        A kind that a question has no input for (no category, no keywords) leaves it without steering.

        Args:
            epoch: counted from 1.
            question_ids: `[P]` int64, the question of each example.

        Returns:
            Steering of P rows, and the kind of each, `[P]` int64 positions in `KINDS`.
        """
        rng = np.random.default_rng([self._seed, epoch])
        shares = np.array(list(self.probabilities(epoch).values()))
        kinds = rng.choice(len(KINDS), size=len(question_ids), p=shares / shares.sum())
        wrong_categories = self._wrong(question_ids, rng)
        vectors = np.zeros((len(question_ids), self._dataset.questions.shape[1]), dtype=np.float32)
        has_steering = np.zeros(len(question_ids), dtype=np.bool_)
        for position, kind in enumerate((*_INPUT_KINDS, "category")):
            rows = np.flatnonzero(kinds == position)
            changed = wrong_categories[rows] if position == KINDS.index("wrong") else None
            steered = steering(self._dataset, question_ids[rows], kind, changed)
            vectors[rows], has_steering[rows] = steered.vectors, steered.has_steering
        return Steering(vectors, has_steering), np.where(has_steering, kinds, 0)

    def _wrong(self, question_ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw another category than each question's, near it or any; -1 where the question has none."""
        own = np.asarray(self._dataset.question_category[question_ids])
        count = len(self._dataset.names)
        if count < 2:
            return np.full_like(own, -1)
        anywhere = (own + rng.integers(1, count, size=len(own))) % count
        near = self._neighbours[own, rng.integers(0, self._neighbours.shape[1], size=len(own))]
        return np.where(own < 0, -1, np.where(rng.random(len(own)) < self._config.near_share, near, anywhere))


def steering_shares(kinds: NDArray[np.int64]) -> dict[str, float]:
    """Return the share of each of `KINDS` among examples, from their positions `[P]`."""
    counts = np.bincount(kinds, minlength=len(KINDS))
    return {kind: float(counts[position] / max(len(kinds), 1)) for position, kind in enumerate(KINDS)}
