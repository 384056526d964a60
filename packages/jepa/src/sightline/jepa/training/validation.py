"""How well a model does on the validation questions, under steering modes that are the same in every epoch and run."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from sightline.jepa.config import JEPATrainingConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import Steering, steering, unreliable_steering
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.ranking.metrics import query_metrics, relevant_ranks, vector_scores
from sightline.jepa.training.collapse import measure_collapse, rank_me

_RANK_SAMPLE = 2048  # sources whose effective rank is measured, about as many as there are predictions


class Validation:
    """The validation split, with its fixed steering modes: `none`, `category` and `unreliable`.

    In the last, a share of the categories is wrong or missing, half of each.
    """

    def __init__(self, dataset: SteeringDataset, config: JEPATrainingConfig) -> None:
        """Prepare the modes.

        Raises:
            ValueError: the data set has no validation pairs.
        """
        questions = dataset.queries("validation")
        if not len(questions):
            raise ValueError("the data set has no validation pairs, so no epoch can be chosen; split it again")
        self._relevant = dataset.relevant(questions)
        self._questions = torch.from_numpy(np.array(dataset.questions[questions]))
        self._sources = torch.from_numpy(np.array(dataset.sources))
        self._category = torch.from_numpy(np.array(dataset.source_category))
        self._source_rank = _rank_of_sample(self._sources)
        self._modes = {
            "none": steering(dataset, questions, "none"),
            "category": steering(dataset, questions, "category"),
            "unreliable": unreliable_steering(dataset, questions, config.unreliable_share),
        }

    def mean_reciprocal_ranks(self, model: JEPAModel) -> dict[str, float]:
        """Return the MRR over the whole corpus for each mode."""
        index = model.embed_index(self._sources, self._category).cpu().numpy()
        found = {}
        for mode, steered in self._modes.items():
            vectors = self._predict(model, steered).cpu().numpy()
            ranks = relevant_ranks(vector_scores(vectors, index), self._relevant)
            found[mode] = float(query_metrics(ranks).reciprocal_rank.mean())
        return found

    def collapse(self, model: JEPAModel) -> dict[str, float]:
        """Measure the predictions with given categories, and `sources_rank_me` to hold them against."""
        dimension = self._sources.shape[1]
        index = model.embed_index(self._sources, self._category)[:, :dimension]
        predictions = self._predict(model, self._modes["category"])[:, :dimension]
        report = asdict(measure_collapse(predictions, index, k=min(10, len(index))))
        source_rank = self._source_rank if model.projection is None else _rank_of_sample(index)
        return report | {"sources_rank_me": source_rank}

    def _predict(self, model: JEPAModel, steered: Steering) -> Tensor:
        return model.predict(self._questions, torch.from_numpy(steered.vectors), torch.from_numpy(steered.has_steering))


def _rank_of_sample(index: Tensor) -> float:
    return rank_me(index[:: max(1, len(index) // _RANK_SAMPLE)])
