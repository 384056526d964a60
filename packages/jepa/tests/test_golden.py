from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sightline.jepa import Explanation, JEPAModel, SteeringDataset
from sightline.jepa.data import read_dataset
from sightline.jepa.explaining import read_policy
from sightline.jepa.training import read_history
from sightline.jepa.training.checkpoint import Checkpoint

GOLDEN = Path(__file__).parent / "golden"
FIRST = Path(__file__).parent / "golden_version_1"
FILES = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        return importlib.import_module("jepa_golden")


@pytest.fixture(scope="module")
def written(golden: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    golden.write(folder)
    return folder


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("README.md")])
def test_a_file_is_written_as_it_has_always_been(written: Path, name: str):
    assert (written / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_no_file_is_missing_and_none_is_new(written: Path):
    assert sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()) == FILES


def test_a_data_set_that_an_earlier_version_left_is_read(golden: ModuleType):
    found = read_dataset(GOLDEN / "dataset")
    for field in fields(SteeringDataset):
        assert np.array_equal(getattr(found, field.name), getattr(golden.DATASET, field.name)), field.name


@pytest.mark.parametrize(
    ("folder", "config"), [(GOLDEN / "model", "CONFIG"), (FIRST / "model", "CONFIG"), (GOLDEN / "scorer", "SCORER")]
)
def test_a_model_that_an_earlier_version_left_predicts_as_it_did(golden: ModuleType, folder: Path, config: str):
    found, expected = JEPAModel.from_pretrained(folder), golden.model(getattr(golden, config))
    assert (found.config, found.encoder, found.names) == (expected.config, "axes", golden.DATASET.names)
    weights = torch.cat([parameter.reshape(-1) for parameter in found.predictor.parameters()])
    assert weights.tolist() == [number / 8 for number in range(len(weights))]
    question = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    inputs = question, question.flip(1), torch.tensor([True, False])
    assert torch.equal(found.predict(*inputs), expected.predict(*inputs))


@pytest.mark.parametrize("folder", [GOLDEN, FIRST])
def test_a_checkpoint_that_an_earlier_version_left_is_taken_up(golden: ModuleType, folder: Path):
    found = Checkpoint.load(folder / "checkpoint.safetensors")
    assert found.state == golden.checkpoint().state
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
        "predictor.weight": [0.0, 0.125, 0.25],
        "optimizer.0.step": 7.0,
    }


def test_records_that_an_earlier_version_left_are_read(golden: ModuleType):
    assert read_history(GOLDEN / "history.jsonl") == golden.HISTORY
    assert read_policy(GOLDEN / "policy.json") == golden.POLICY
    (line,) = (GOLDEN / "explanations.jsonl").read_bytes().splitlines()
    assert Explanation.model_validate_json(line) == golden.EXPLANATION
