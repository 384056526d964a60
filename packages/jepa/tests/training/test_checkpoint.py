from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.negatives import mine_negatives
from sightline.jepa.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    fingerprint,
    optimizer_tensors,
    restore_optimizer,
)
from sightline.jepa.training.run import TrainingRun

KINDS = [{}, {"model": "routed"}, {"target": "projection"}, {"model": "scorer"}, {"training": {"batches": "balanced"}}]


def config(**changes: Any) -> JEPAConfig:
    predictor = {"dimension": 16, "hidden_dimension": 16, "dropout": 0.2, "input_dropout": 0.1}
    training = {"epochs": 4, "batch_size": 48, "learning_rate": 0.01, "warmup_epochs": 1, "checkpoint_epochs": 1}
    training |= changes.pop("training", {})
    loss = {"negatives": "corpus"} | changes.pop("loss", {})
    values = {"model": "plain", "predictor": predictor, "training": training, "loss": loss}
    return JEPAConfig.model_validate(values | changes)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / "checkpoint.safetensors").tensors


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_four_epochs_are_two_and_two_more_bit_for_bit(
    tmp_path: Path, toy_dataset: SteeringDataset, changes: dict[str, str]
):
    whole = TrainingRun(config(**changes), toy_dataset, folder=tmp_path / "whole").fit()
    interrupted = TrainingRun(config(**changes), toy_dataset, folder=tmp_path / "parts").fit(stop_after=2)
    assert not interrupted.finished
    resumed = TrainingRun.resume(tmp_path / "parts", toy_dataset).fit()
    expected, found = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts")
    assert set(expected) == set(found)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    without_time = [[r.model_copy(update={"seconds": 0.0}) for r in result.history] for result in (whole, resumed)]
    assert without_time[0] == without_time[1]
    assert (tmp_path / "whole/model/model.safetensors").read_bytes() == (
        tmp_path / "parts/model/model.safetensors"
    ).read_bytes()


def test_a_run_that_dies_while_writing_a_checkpoint_resumes_from_the_one_before(
    tmp_path: Path, toy_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch
):
    TrainingRun(config(), toy_dataset, folder=tmp_path / "whole").fit()
    TrainingRun(config(), toy_dataset, folder=tmp_path / "parts").fit(stop_after=2)
    before = (tmp_path / "parts/checkpoint.safetensors").read_bytes()
    trainer = TrainingRun.resume(tmp_path / "parts", toy_dataset)
    replace = Path.replace

    def dies(self: Path, target: Path) -> Path:
        if target.name == "checkpoint.safetensors":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    monkeypatch.undo()
    assert (tmp_path / "parts/checkpoint.safetensors").read_bytes() == before
    TrainingRun.resume(tmp_path / "parts", toy_dataset).fit()
    expected, found = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, toy_dataset: SteeringDataset):
    first = TrainingRun(config(), toy_dataset, folder=tmp_path).fit()
    again = TrainingRun.resume(tmp_path, toy_dataset).fit()
    assert again == first


def test_a_finished_run_is_extended(tmp_path: Path, toy_dataset: SteeringDataset):
    first = TrainingRun(config(), toy_dataset, folder=tmp_path).fit()
    longer = TrainingRun.resume(tmp_path, toy_dataset, epochs=6, patience=9).fit()
    assert (first.finished, longer.finished) == (True, True)
    assert longer.history[: len(first.history)] == first.history
    assert [record.epoch for record in longer.history] == list(range(7))
    assert Checkpoint.load(tmp_path / "checkpoint.safetensors").state.config.training.epochs == 6
    with pytest.raises(ValueError, match="has done 6 epochs, so it cannot end after 5"):
        TrainingRun.resume(tmp_path, toy_dataset, epochs=5)


def test_a_run_resumes_with_its_mined_negatives_and_no_others(tmp_path: Path, toy_dataset: SteeringDataset):
    mined, others = (mine_negatives(toy_dataset, 4, seed).ids for seed in (0, 1))
    mining = config(loss={"negatives": "batch", "num_negatives": 4})
    TrainingRun(mining, toy_dataset, folder=tmp_path / "whole", negatives=mined).fit()
    TrainingRun(mining, toy_dataset, folder=tmp_path / "parts", negatives=mined).fit(stop_after=2)
    for wrong in (None, others):
        with pytest.raises(CheckpointError, match="was made with mined negatives"):
            TrainingRun.resume(tmp_path / "parts", toy_dataset, negatives=wrong)
    TrainingRun.resume(tmp_path / "parts", toy_dataset, negatives=mined).fit()
    expected, found = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    TrainingRun(config(), toy_dataset, folder=tmp_path / "without").fit(stop_after=1)
    with pytest.raises(CheckpointError, match="was made without mined negatives"):
        TrainingRun.resume(tmp_path / "without", toy_dataset, negatives=mined)


def test_other_data_is_refused(tmp_path: Path, toy_dataset: SteeringDataset, make_toy_dataset):
    TrainingRun(config(), toy_dataset, folder=tmp_path).fit(stop_after=1)
    with pytest.raises(CheckpointError, match="another data set"):
        TrainingRun.resume(tmp_path, make_toy_dataset(seed=1))


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path, toy_dataset: SteeringDataset):
    with pytest.raises(FileNotFoundError):
        TrainingRun.resume(tmp_path, toy_dataset)


@pytest.mark.parametrize("keep", [0, 5, 100, 5000])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, toy_dataset: SteeringDataset, keep: int):
    TrainingRun(config(), toy_dataset, folder=tmp_path).fit(stop_after=1)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        TrainingRun.resume(tmp_path, toy_dataset)


def test_tensors_of_another_model_are_refused(tmp_path: Path, toy_dataset: SteeringDataset):
    TrainingRun(config(), toy_dataset, folder=tmp_path).fit(stop_after=1)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint = Checkpoint.load(path)
    wider = checkpoint.state.config.model_copy(
        update={"predictor": checkpoint.state.config.predictor.model_copy(update={"hidden_dimension": 32})}
    )
    Checkpoint(checkpoint.state.model_copy(update={"config": wider}), checkpoint.tensors).save(path)
    with pytest.raises(CheckpointError, match="do not fit"):
        TrainingRun.resume(tmp_path, toy_dataset)


def test_a_tensor_file_that_is_no_checkpoint_is_refused(tmp_path: Path, toy_dataset: SteeringDataset):
    trainer = TrainingRun(config(), toy_dataset)
    trainer.fit(stop_after=1)
    trainer.model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="train anew"):
        TrainingRun.resume(tmp_path, toy_dataset)


def test_the_fingerprint_sees_a_single_changed_number(toy_dataset: SteeringDataset):
    assert fingerprint(replace(toy_dataset)) == fingerprint(toy_dataset)
    split, category = np.array(toy_dataset.pair_split), np.array(toy_dataset.question_category)
    split[7], category[7] = (split[7] + 1) % 3, (category[7] + 1) % 3
    assert fingerprint(replace(toy_dataset, pair_split=split)) != fingerprint(toy_dataset)
    assert fingerprint(replace(toy_dataset, question_category=category)) != fingerprint(toy_dataset)


def test_an_optimizer_takes_up_where_it_left_off():
    runs = []
    for interrupt in (False, True):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        for step in range(4):
            if interrupt and step == 2:
                saved = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
                optimizer = torch.optim.AdamW([weight], lr=0.1)
                restore_optimizer(optimizer, saved)
            optimizer.zero_grad()
            (weight**2 * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
            optimizer.step()
        runs.append(weight.detach())
    assert torch.equal(runs[0], runs[1])
