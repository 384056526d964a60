from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sightline.jepa import JEPAConfig, SteeringDataset, Trainer
from sightline.jepa.commands.training import check_folds, hold_out_folds
from sightline.jepa.data import hold_out_fold


def test_each_fold_is_held_out_of_the_training_of_a_model_of_its_own(coded_dataset: SteeringDataset, tmp_path: Path):
    config = JEPAConfig.model_validate(
        {
            "model": "plain",
            "predictor": {"dimension": coded_dataset.sources.shape[1], "hidden_dimension": 16},
            "loss": {"negatives": "corpus"},
            "training": {"epochs": 3, "batch_size": 16, "warmup_epochs": 0, "learning_rate": 0.01},
        }
    )
    found = hold_out_folds(config, coded_dataset, tmp_path, 2, seed=7, embed=None)
    train = set(coded_dataset.pairs[coded_dataset.pair_split == 0, 0].tolist())
    asked = [set(each.dataset.queries("test").tolist()) for each in found]
    assert len(asked) == 2
    assert set.union(*asked) == train
    assert sum(map(len, asked)) == len(train)
    for fold, each in enumerate(found):
        alone = Trainer(config, hold_out_fold(coded_dataset, fold, 2, seed=7))
        assert alone.fit().best_epoch > 0  # else any training would end with the same weights
        expected, weights = (model.predictor.state_dict() for model in (alone.model, each.model))
        assert all(torch.equal(expected[name], weights[name]) for name in expected)


@pytest.mark.parametrize("folds", [-1, 1])
def test_folds_that_leave_nothing_to_train_on_are_refused(folds: int):
    with pytest.raises(ValueError, match=f"--folds {folds} leaves nothing"):
        check_folds(folds)


@pytest.mark.parametrize("folds", [None, 0, 2])
def test_other_numbers_of_folds_are_taken(folds: int | None):
    check_folds(folds)
